// Continuation alignment: finds, in what an endpoint sends back, the part that goes on from the text it was
// given as the start of the assistant's turn. Engines differ (llama-server repeats the start, in a stream as
// part of the first delta; vLLM sends the continuation alone; others begin the answer anew), so the text
// decides, not the engine's name.
//
// Pure and incremental: the outcome depends on the bytes, never on how they were cut into pieces. Text is
// held back only while it is undecided; a continuation that shares no beginning with the start is let through
// at its first letter. At most the length of the start (plus kLeadingSpaceMax) is held. Nothing is invented:
// what comes out is a suffix of what came in, except that white space at the seam may be left out, as below.
//
// What is sent. White space at the end of the start is not sent (sent_part): a start that ends in a space
// derails models
// ("The capital of " went on "112 countries"), and many chat templates trim it anyway. The endpoint then
// writes that white space again; the seam rule removes it. The best place to cut is therefore after the white
// space that follows a word: endpoints that go on from the text write it again and it is removed, endpoints
// that treat the start as a finished turn begin with a letter and it is needed.
//
// The rules, in order, with Q the start without white space around it and T the reply without white space
// before it:
//  1. Echo: T begins with Q. Q is dropped. If Q is short (< kSureBytes) it must come back with the same
//  leading white
//     space (or, from kBlankedBytes on and not ending as it begins, behind one blank), hold a letter or
//     digit, and end where a word ends in T, since "ha" may well go on "ha ha".
//  2. Overlap: T begins with the last words of Q, beginning at a word and ending where a word ends in T: at
//  least
//     kOverlapBytesMin and kOverlapWordsMin words of them, or kGluedOverlapBytesMin and two words where a
//     letter would touch a letter at the seam, which no true continuation of a finished word does. They are
//     dropped.
//  3. Text that already repeats itself may go on repeating itself: what rules 1 and 2 would drop is kept when
//  Q ("0, 0,
//     0,") has a period that the reply carries on, and so is an overlap that stands in Q more than once.
//  4. Restart: T shares its beginning with Q and then differs. Certain when at least the first whole word is
//  shared and
//     letter touches letter at the seam, or when kRestartBytes are shared. A reply that is properly over
//     while it still says Q (or an overlap) again is one too: where letter touches letter, or two words and
//     kBlankedBytes of it that stand in Q once. There is no continuation in it; alignment() says so and
//     nothing comes out.
//  5. Otherwise T is the continuation, with its white space, byte for byte. Two letters that meet at the seam
//  stay as
//     they are.
//  6. Seam: if the start ends in white space, as much of the reply's white space at the seam is left out as
//  repeats it,
//     byte by byte from its beginning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hedge::upstream {

enum class Alignment : uint8_t { kUndecided, kContinuation, kEcho, kOverlap, kRestart };

// What the endpoint was seen to do with a start long enough to tell; settles short and self-repeating ones.
enum class Expect : uint8_t { kUnknown, kContinuation, kEcho };

inline constexpr size_t kLeadingSpaceMax = 64;
inline constexpr size_t kSureBytes = 16;
inline constexpr size_t kBlankedBytes = 8;  // a start this long is hardly said twice over one blank
inline constexpr size_t kOverlapBytesMin = 16;
inline constexpr size_t kOverlapWordsMin = 3;
inline constexpr size_t kGluedOverlapBytesMin = 8;
inline constexpr size_t kOverlapBytesMax = 256;  // how far back rule 2 looks
inline constexpr size_t kRestartBytes = 48;

// The part of the start that is sent: all but white space (ASCII) at its end.
std::string_view sent_part(std::string_view start);

class Aligner {
 public:
  // `start`: what the assistant's turn begins with, whole; empty when there is nothing to align.
  explicit Aligner(std::string start, Expect expect = Expect::kUnknown);

  // Takes the next piece of the reply, gives the next piece of the continuation.
  std::string push(std::string_view text);
  // At the proper end of the reply: what was held back. A reply that breaks off is not finished: what is held
  // back then may be an echo that was cut, and is dropped.
  std::string finish();

  Alignment alignment() const { return alignment_; }
  // What this reply teaches about the endpoint; kUnknown when the start was too short or the reply proves
  // nothing.
  Expect learned() const;
  size_t held_bytes() const { return held_.size(); }

 private:
  struct Outcome {
    Alignment alignment = Alignment::kUndecided;
    size_t drop_bytes = 0;
  };
  Outcome decide(std::string_view reply, bool whole) const;
  std::string pass_seam(std::string_view text);

  const std::string start_;      // without white space at its end
  const std::string end_space_;  // that white space
  const Expect expect_;
  Alignment alignment_ = Alignment::kUndecided;
  bool ended_undecided_ = false;  // the reply was over before it could be told; taken for a continuation
  std::string held_;
  size_t seam_next_ =
      0;  // the byte of end_space_ that the reply may repeat next; at its end the seam is passed
};

}  // namespace hedge::upstream
