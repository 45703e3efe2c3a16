// The table of types, made from type_list.inc. Constant; any thread.
#include "quant/type.h"

#include "quant/formats.h"

namespace hedge::quant {
namespace {

constexpr TypeInfo kTypes[kTypeCount] = {
#define HEDGE_QUANT_TYPE(enumerator, gguf_id, name, block, values, suffix) \
  {Type::enumerator, gguf_id, name, values, sizeof(block), dequantize_##suffix, quantize_##suffix},
#define HEDGE_QUANT_READ_TYPE(enumerator, gguf_id, name, block, values, suffix) \
  {Type::enumerator, gguf_id, name, values, sizeof(block), dequantize_##suffix, nullptr},
#include "quant/type_list.inc"
#undef HEDGE_QUANT_TYPE
};

struct ForeignType {
  uint32_t gguf_id;
  std::string_view name;
};

// The ids of the standard (enum ggml_type in ggml.h) that Hedge does not read; 4, 5, 31 to 33 and 36 to 38
// were withdrawn.
constexpr ForeignType kForeignTypes[] = {
    {4, "Q4_2"},    {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},       {16, "IQ2_XXS"},
    {17, "IQ2_XS"}, {18, "IQ3_XXS"},    {19, "IQ1_S"},      {21, "IQ3_S"},      {22, "IQ2_S"},
    {24, "I8"},     {25, "I16"},        {26, "I32"},        {27, "I64"},        {28, "F64"},
    {29, "IQ1_M"},  {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"},
    {35, "TQ2_0"},  {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {39, "MXFP4"},
    {40, "NVFP4"},  {41, "Q1_0"},
};

}  // namespace

const TypeInfo& info(Type type) { return kTypes[static_cast<size_t>(type)]; }

std::optional<Type> type_from_gguf_id(uint32_t gguf_id) {
  for (const TypeInfo& t : kTypes) {
    if (t.gguf_id == gguf_id) return t.type;
  }
  return std::nullopt;
}

std::string gguf_type_name(uint32_t gguf_id) {
  for (const TypeInfo& t : kTypes) {
    if (t.gguf_id == gguf_id) return std::string(t.name);
  }
  for (const ForeignType& t : kForeignTypes) {
    if (t.gguf_id == gguf_id) return std::string(t.name);
  }
  return "type " + std::to_string(gguf_id);
}

}  // namespace hedge::quant
