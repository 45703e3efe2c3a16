// Whether the texts of a request may leave: every text is scanned as it is, inside of base64, over the lines
// of a text and over one speaker's messages. Fails closed: what cannot be judged is not let pass.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "chat/request.h"
#include "privacy/base64.h"
#include "privacy/detector.h"
#include "privacy/finding.h"
#include "privacy/json_members.h"
#include "privacy/policy.h"
#include "privacy/scan.h"

namespace hedge::privacy {

// Where a test makes the scan fail or time pass.
struct ScanHooks {
  SteadyClock::time_point (*now)() = &SteadyClock::now;
  Status (*before_scan)() =
      nullptr;  // called before every text; its error, or what it throws, fails the scan
};

// Buffers of one thread: judging clean texts allocates nothing once they have grown.
struct JudgeWork {
  DetectWork detect;
  Base64Work base64;
  JsonWork json;
  std::string joined;
  std::vector<size_t> seams;         // in `joined`, rising
  std::unique_ptr<Scanner> scanner;  // made when the tagger is first asked
};

class Judge {
 public:
  // Borrows all of them.
  Judge(const Rules& rules, const Policy& policy, const ScanHooks& hooks, JudgeWork& work);

  void judge(Field field, std::string_view text);
  // What cannot be masked: a number, a header. Any find of a type that is asked for keeps the request here.
  void judge_rigid(std::string_view text, Rigid kind);
  // Finds only what begins in one text and ends in the other, as they are and with a space between; white
  // space around the seam is nobody's.
  // REQUIRES that both have been judged.
  void judge_seam(std::string_view before, std::string_view after);
  // Nothing can be said; the first reason stands.
  void fail(std::string why);

  Finding finding();
  bool failed() const { return !unjudged_.empty(); }

 private:
  bool admit(std::string_view text);
  // What is found behind the first `label` bytes.
  void judge_as(Field field, std::string_view text, TypeSet asked, size_t label);
  void judge_members(Field field, std::string_view json);
  void judge_base64(std::string_view text);
  void judge_joined(std::string_view text);
  void judge_window(std::string_view text, size_t begin, size_t end);
  // Found where it cannot be masked: in base64, in pieces.
  void note_hidden(const Span& span) {
    (rules_.local() & set_of(span.type) ? found_ : hidden_) |= set_of(span.type);
  }

  const Rules& rules_;
  const Policy& policy_;
  const ScanHooks& hooks_;
  JudgeWork& work_;
  const DetectorSet asked_;  // detectors of any field
  const SteadyClock::time_point deadline_;
  int64_t bytes_ = 0;
  std::string unjudged_;  // why nothing can be said
  TypeSet found_ = 0;     // types that keep the request here
  TypeSet masked_ = 0;
  TypeSet hidden_ = 0;   // would be masked, and was found where it cannot be
  uint32_t closed_ = 0;  // fields that may not go out and have text
};

// Every text of the request that would leave the device. Never throws.
Finding judge_request(const chat::Request& request, const Rules& rules, const Policy& policy,
                      const ScanHooks& hooks);

}  // namespace hedge::privacy
