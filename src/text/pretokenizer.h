// Cuts a text into the words within which byte-level BPE merges, by the regular expressions that belong to
// the name in tokenizer.ggml.pre (pretokenizer_list.inc). Immutable after make(); safe from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/unicode_class.h"

namespace hedge::text {

class Pretokenizer {
 public:
  enum Flag : unsigned {
    kIgnoresMerges = 1,   // a word that is a token as a whole is not merged from its parts
    kAddsBos = 2,         // unless the file says otherwise
    kRawUtf8 = 4,         // spaces become U+2581 and bytes are not mapped to printable characters
    kAlwaysAddsBos = 8,   // even if the file says otherwise
    kWholeNewlines = 16,  // a word of newlines is one token if it can be
  };

  using Sink = std::function<void(std::string_view word)>;

  // kUnsupported with the name when Hedge does not know it. An empty name is "default".
  static Result<std::unique_ptr<Pretokenizer>> make(std::string_view name);
  virtual ~Pretokenizer() = default;

  bool has(Flag flag) const { return (flags_ & flag) != 0; }

  // The words in order, as views into `text.utf8`; together they are all of it.
  virtual void split(const ClassText& text, const Sink& sink) const = 0;

 protected:
  unsigned flags_ = 0;
};

// Every name that make() knows, for help texts and tests.
std::vector<std::string_view> pretokenizer_names();

}  // namespace hedge::text
