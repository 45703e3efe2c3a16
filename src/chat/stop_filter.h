// Holds back text that may be the beginning of a stop string, and ends the answer before the first whole one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedge::chat {

class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);

  // Takes the next text and returns what may be sent now. Once stopped() everything is dropped.
  std::string push(std::string_view text);
  // At the end of the answer: what was held back and turned out to be no stop string.
  std::string flush();
  bool stopped() const { return stopped_; }
  size_t held_bytes() const { return held_.size(); }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace hedge::chat
