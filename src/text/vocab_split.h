// Cuts a text at the tokens that are matched as a whole before any other rule: control tokens
// ("<|im_start|>") and user-defined ones. Longer tokens win over shorter ones wherever they stand, as in
// llama.cpp. Immutable after construction; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace hedge::text {

class SpecialSplitter {
 public:
  // A piece of the input: a token, or text between tokens (token == -1, never empty).
  struct Fragment {
    TokenId token;
    std::string_view text;
  };

  // Which tokens swallow the white space beside them. Files do not say it; llama.cpp knows it by model name.
  struct StripRules {
    std::vector<TokenId> left;
    bool right_all = false;            // all special tokens ...
    std::vector<TokenId> right_never;  // ... but these
  };

  // `vocab` must outlive the splitter.
  SpecialSplitter(const Vocab& vocab, const StripRules& rules);

  // User-defined tokens are always cut out, control and unknown ones only with `parse_special`.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;

  // `text` with `mark` put into every control token's name, after its first character, so that it is text for
  // split(); the caller takes the marks out of the fragments again.
  std::string with_controls_marked(std::string_view text, std::string_view mark) const;

 private:
  struct Entry {
    std::string_view name;
    TokenId id;
    bool always;  // user-defined
    bool strips_left;
    bool strips_right;
  };
  struct Match {
    uint32_t entry;
    uint32_t size;
    size_t begin;
  };

  // The longest entry that stands at `position` and has at most `limit` bytes; null when there is none.
  const Entry* longest_at(std::string_view text, size_t position, size_t limit, bool parse_special) const;
  std::vector<Match> resolve(std::string_view text, bool parse_special) const;
  bool may_begin(uint8_t first, uint8_t second) const {
    const uint32_t pair = first << 8 | second;
    return (pairs_[pair >> 6] >> (pair & 63) & 1) != 0;
  }

  std::vector<Entry> entries_;   // sorted by name
  std::vector<uint64_t> pairs_;  // one bit for each pair of bytes that may begin an entry
};

}  // namespace hedge::text
