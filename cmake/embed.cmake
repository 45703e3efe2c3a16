# hedge_embed(MODULE FILE NAMESPACE FUNCTION): puts the bytes of FILE (relative to the calling folder) into the module
# hedge_MODULE, 64-byte aligned and read-only, given back by `std::string_view NAMESPACE::FUNCTION()`. Declare the
# function in a header of the module. For small files that belong to the program itself: default weights, tables.
function(hedge_embed module file namespace function)
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE HEDGE_EMBED_FILE)
  if(NOT EXISTS ${HEDGE_EMBED_FILE})
    message(FATAL_ERROR "hedge_embed: no file ${HEDGE_EMBED_FILE}")
  endif()
  set(HEDGE_EMBED_NAMESPACE ${namespace})
  set(HEDGE_EMBED_FUNCTION ${function})
  string(MAKE_C_IDENTIFIER "${namespace}::${function}" HEDGE_EMBED_SYMBOL)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${function}.cc)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/embed.cc.in ${source} @ONLY)
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${HEDGE_EMBED_FILE})
  target_sources(hedge_${module} PRIVATE ${source})
endfunction()
