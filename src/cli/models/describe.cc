#include "cli/models/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "model/config.h"
#include "model/kv_cache.h"

namespace hedge::cli {
namespace {

// Facts for people: a key that is absent or of another type is shown as absent; the loader is who judges.
uint64_t uint_of(const gguf::File& file, const std::string& key) {
  const auto value = file.get_uint_or(key, 0);
  return value.ok() ? *value : 0;
}

std::string string_of(const gguf::File& file, std::string_view key) {
  const auto value = file.get_string_or(key, "");
  return value.ok() ? std::string(*value) : "";
}

// The beginning of a text of the file, as it may stand in one line.
std::string excerpt(std::string_view text, size_t bytes_max) {
  const std::string_view begin = text.substr(0, bytes_max);
  std::string out = printable(begin.substr(0, utf8_complete_prefix(begin)));
  if (text.size() > bytes_max) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

template <typename T>
T read_as(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// `at` holds at least the bytes of one scalar of the type: the reader has checked that.
std::string scalar_text(gguf::ValueType type, const uint8_t* at) {
  switch (type) {
    case gguf::ValueType::kUint8:
      return std::to_string(read_as<uint8_t>(at));
    case gguf::ValueType::kInt8:
      return std::to_string(read_as<int8_t>(at));
    case gguf::ValueType::kUint16:
      return std::to_string(read_as<uint16_t>(at));
    case gguf::ValueType::kInt16:
      return std::to_string(read_as<int16_t>(at));
    case gguf::ValueType::kUint32:
      return std::to_string(read_as<uint32_t>(at));
    case gguf::ValueType::kInt32:
      return std::to_string(read_as<int32_t>(at));
    case gguf::ValueType::kFloat32:
      return fmt::format("{}", read_as<float>(at));
    case gguf::ValueType::kBool:
      return *at != 0 ? "true" : "false";
    case gguf::ValueType::kUint64:
      return std::to_string(read_as<uint64_t>(at));
    case gguf::ValueType::kInt64:
      return std::to_string(read_as<int64_t>(at));
    case gguf::ValueType::kFloat64:
      return fmt::format("{}", read_as<double>(at));
    case gguf::ValueType::kString:
    case gguf::ValueType::kArray:
      break;
  }
  return {};
}

std::string array_text(const gguf::Value& value, size_t bytes_max) {
  std::string out;
  const bool strings = value.element_type == gguf::ValueType::kString;
  const size_t element_bytes = strings || value.count == 0 ? 0 : value.raw.size() / value.count;
  uint64_t shown = 0;
  for (; shown < value.count && out.size() < bytes_max; ++shown) {
    if (shown > 0) out += ", ";
    if (strings) {
      out += '"' + excerpt(value.strings[shown], bytes_max) + '"';
    } else if (element_bytes > 0) {
      out += scalar_text(value.element_type, value.raw.data() + shown * element_bytes);
    }
  }
  return fmt::format("{}[{}] {}{}", gguf::to_string(value.element_type), value.count, out,
                     shown < value.count ? ", ..." : "");
}

std::vector<TypeShare> shares(const gguf::File& file) {
  std::vector<TypeShare> types;
  for (const gguf::Tensor& tensor : file.tensors()) {
    const std::string_view name = quant::info(tensor.type).name;
    auto share = std::find_if(types.begin(), types.end(), [&](const TypeShare& s) { return s.type == name; });
    if (share == types.end()) share = types.insert(types.end(), TypeShare{std::string(name), 0, 0, 0});
    share->tensors += 1;
    share->parameters += tensor.columns() * tensor.rows();
    share->bytes += tensor.size_bytes;
  }
  std::sort(types.begin(), types.end(),
            [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
  return types;
}

std::vector<MemoryEstimate> estimate_memory(const gguf::File& file, const model::Config& config) {
  std::vector<MemoryEstimate> estimates;
  const model::KvLayout layout(config, model::KvType::kQ8);
  for (const int context : {2048, 4096, config.context}) {
    if (context > config.context) continue;
    const auto tokens = static_cast<uint64_t>(context);
    if (!estimates.empty() && tokens <= estimates.back().context_tokens) continue;
    estimates.push_back({tokens, file.bytes().size(),
                         layout.bytes(tokens, static_cast<size_t>(engine::Options{}.prefill_chunk))});
  }
  return estimates;
}

// general.file_type, as llama.cpp numbers it; empty for a number without a name here.
std::string_view file_type_name(uint64_t id) {
  constexpr std::pair<uint64_t, std::string_view> kNames[] = {
      {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
      {8, "Q5_0"},    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
      {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
      {18, "Q6_K"},   {21, "Q2_K_S"}, {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"},
  };
  for (const auto& [number, name] : kNames) {
    if (number == id) return name;
  }
  return {};
}

// What the file calls its mix of types, else the type that holds most parameters.
std::string file_type(const gguf::File& file, const Description& d) {
  if (file.find("general.file_type") != nullptr) {
    if (const std::string_view name = file_type_name(uint_of(file, "general.file_type")); !name.empty()) {
      return std::string(name);
    }
  }
  const auto most =
      std::max_element(d.types.begin(), d.types.end(),
                       [](const TypeShare& a, const TypeShare& b) { return a.parameters < b.parameters; });
  return most == d.types.end() ? "" : most->type;
}

}  // namespace

Description describe(const gguf::File& file) {
  Description d;
  const std::string architecture = string_of(file, "general.architecture");
  d.architecture = excerpt(architecture, 100);
  d.title = excerpt(string_of(file, "general.name"), 200);
  d.license = excerpt(string_of(file, "general.license"), 200);
  d.context_tokens = uint_of(file, architecture + ".context_length");
  d.layers = uint_of(file, architecture + ".block_count");
  d.embedding = uint_of(file, architecture + ".embedding_length");
  d.tokenizer = excerpt(string_of(file, "tokenizer.ggml.model"), 100);
  if (const std::string pre = string_of(file, "tokenizer.ggml.pre"); !pre.empty())
    d.tokenizer += "/" + excerpt(pre, 100);
  if (const gguf::Value* tokens = file.find("tokenizer.ggml.tokens")) d.vocabulary = tokens->count;
  d.has_template = file.find("tokenizer.chat_template") != nullptr;
  d.types = shares(file);
  for (const TypeShare& share : d.types) d.parameters += share.parameters;
  d.file_type = file_type(file, d);
  if (const auto config = model::read_config(file); config.ok()) {
    d.memory = estimate_memory(file, *config);
  } else {
    d.cannot_run = printable(config.error().detail);
  }
  return d;
}

std::string value_text(const gguf::Value& value, size_t bytes_max) {
  if (value.type == gguf::ValueType::kArray) return array_text(value, bytes_max);
  if (value.type == gguf::ValueType::kString) {
    return excerpt({reinterpret_cast<const char*>(value.raw.data()), value.raw.size()}, bytes_max);
  }
  return scalar_text(value.type, value.raw.data());
}

}  // namespace hedge::cli
