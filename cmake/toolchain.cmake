# Compiler and linker settings shared by every target.
find_program(HEDGE_CCACHE ccache)
if(HEDGE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HEDGE_CCACHE})
endif()
find_program(HEDGE_MOLD mold)
if(HEDGE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

add_compile_options(-Wall -Wextra -Wshadow -Wswitch -Werror -fno-strict-aliasing -fvisibility=hidden)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives for these in inlined std::string and std::variant code and
  # in Asio's coroutine frames (gcc bugs 105329, 105562).
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-mismatched-new-delete)
endif()
if(HEDGE_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(HEDGE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()
