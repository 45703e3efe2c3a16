// str(), repr() and json.dumps().
#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

bool append_items(Builder& out, Runtime& runtime, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0 && !out.append(", ")) return false;
    if (!append_repr(out, runtime, items[i])) return false;
  }
  return true;
}

bool append_list(Builder& out, Runtime& runtime, const List& list) {
  switch (list.sequence) {
    case Sequence::kList:
      return out.append("[") && append_items(out, runtime, list.items) && out.append("]");
    case Sequence::kTuple:
      return out.append("(") && append_items(out, runtime, list.items) &&
             out.append(list.items.size() == 1 ? ",)" : ")");
    case Sequence::kView:
    case Sequence::kRange:
    case Sequence::kGenerator:
      break;
  }
  runtime.fail("printing a dict view, range or generator", ErrorCode::kUnsupported);
  return false;
}

bool append_dict(Builder& out, Runtime& runtime, const Dict& dict) {
  if (!out.append("{")) return false;
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0 && !out.append(", ")) return false;
    if (!append_repr(out, runtime, dict.entries[i].first) || !out.append(": ") ||
        !append_repr(out, runtime, dict.entries[i].second)) {
      return false;
    }
  }
  return out.append("}");
}

bool append_scalar(Builder& out, Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return out.append("None");
    case Kind::kBool:
      return out.append(value.as_bool() ? "True" : "False");
    case Kind::kInt:
      return out.append(std::to_string(value.as_int()));
    case Kind::kFloat:
      return out.append(float_to_text(value.as_real()));
    case Kind::kList:
      return append_list(out, runtime, value.as_list());
    case Kind::kDict:
      return append_dict(out, runtime, value.as_dict());
    case Kind::kObject:
    case Kind::kUndefined:
    case Kind::kString:
      break;
  }
  runtime.fail(std::string("printing a ") + value.type_name(), ErrorCode::kUnsupported);
  return false;
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonOptions& options)
      : runtime_(runtime), options_(options), out_(runtime) {}

  std::string take() { return out_.take(); }

  bool write(const Value& value, int level) {
    switch (value.kind()) {
      case Kind::kNone:
        return out_.append("null");
      case Kind::kBool:
        return out_.append(value.as_bool() ? "true" : "false");
      case Kind::kInt:
        return out_.append(std::to_string(value.as_int()));
      case Kind::kFloat:
        return out_.append(number(value.as_real()));
      case Kind::kString:
        return write_string(value.text());
      case Kind::kList:
        if (!value.is_sequence(Sequence::kList) && !value.is_sequence(Sequence::kTuple)) break;
        return write_list(value.as_list(), level);
      case Kind::kDict:
        return write_dict(value.as_dict(), level);
      case Kind::kUndefined:
      case Kind::kObject:
        break;
    }
    runtime_.fail(std::string("object of type ") + value.type_name() + " is not JSON serializable");
    return false;
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_to_text(value);
  }

  bool new_line(int level) {
    if (!options_.indented) return true;
    if (!out_.append("\n")) return false;
    for (int i = 0; i < level; ++i) {
      if (!out_.append(options_.indent)) return false;
    }
    return true;
  }

  bool write_list(const List& list, int level) {
    if (list.items.empty()) return out_.append("[]");
    if (!out_.append("[")) return false;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0 && !out_.append(options_.item_separator)) return false;
      if (!new_line(level + 1) || !write(list.items[i], level + 1)) return false;
    }
    return new_line(level) && out_.append("]");
  }

  bool write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (!key.is_number() && !key.is_none()) {
      runtime_.fail(std::string("keys must be str, int, float, bool or None, not ") + key.type_name());
      return false;
    }
    return out_.append("\"") && write(key, 0) && out_.append("\"");
  }

  bool write_dict(const Dict& dict, int level) {
    if (dict.entries.empty()) return out_.append("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (options_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(runtime_, a->first, b->first); });
    }
    if (runtime_.failed() || !out_.append("{")) return false;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0 && !out_.append(options_.item_separator)) return false;
      if (!new_line(level + 1) || !write_key(entries[i]->first) || !out_.append(options_.key_separator) ||
          !write(entries[i]->second, level + 1)) {
        return false;
      }
    }
    return new_line(level) && out_.append("}");
  }

  void append_unicode(std::string& text, uint32_t unit) const {
    static constexpr char kHex[] = "0123456789abcdef";
    text += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) text += kHex[(unit >> shift) & 0xf];
  }

  bool write_string(std::string_view text) {
    static constexpr std::string_view kFrom = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kTo = "\"\\nrtfb";
    if (!runtime_.scan(text.size())) return false;
    std::string quoted = "\"";
    for (size_t position = 0; position < text.size();) {
      const size_t start = position;
      const char32_t c = utf8_next(text, position);
      const size_t short_form = c < 0x80 ? kFrom.find(static_cast<char>(c)) : std::string_view::npos;
      if (short_form != std::string_view::npos) {
        quoted += '\\';
        quoted += kTo[short_form];
      } else if (c < 0x20 || (options_.ascii && c >= 0x7f && c < 0x10000)) {
        append_unicode(quoted, static_cast<uint32_t>(c));
      } else if (options_.ascii && c >= 0x10000) {
        append_unicode(quoted, static_cast<uint32_t>(0xd800 + ((c - 0x10000) >> 10)));
        append_unicode(quoted, static_cast<uint32_t>(0xdc00 + ((c - 0x10000) & 0x3ff)));
      } else {
        quoted += text.substr(start, position - start);
      }
    }
    quoted += '"';
    return out_.append(quoted);
  }

  Runtime& runtime_;
  const JsonOptions& options_;
  Builder out_;
};

}  // namespace

bool append_text(Builder& out, Runtime& runtime, const Value& value) {
  if (value.is_string()) return out.append(value.text());
  if (value.is_undefined()) return !runtime.failed();
  return append_scalar(out, runtime, value);
}

bool append_repr(Builder& out, Runtime& runtime, const Value& value) {
  if (!value.is_string())
    return value.is_undefined() ? out.append("Undefined") : append_scalar(out, runtime, value);
  if (!runtime.scan(value.text().size())) return false;
  std::string quoted;
  append_repr(quoted, value.text());
  return value.is_markup() ? out.append("Markup(" + quoted + ")") : out.append(quoted);
}

std::string to_text(Runtime& runtime, const Value& value) {
  if (value.is_string()) return runtime.work(value.text().size()) ? value.text() : std::string();
  Builder out(runtime);
  append_text(out, runtime, value);
  return runtime.failed() ? std::string() : out.take();
}

std::string to_json(Runtime& runtime, const Value& value, const JsonOptions& options) {
  JsonWriter writer(runtime, options);
  if (!writer.write(value, 0)) return {};
  return writer.take();
}

}  // namespace hedge::text::jinja
