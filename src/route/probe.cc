#include "route/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/bytes.h"
#include "base/hash.h"

namespace hedge::route {
namespace {

constexpr char kMagic[8] = {'H', 'E', 'D', 'G', 'E', 'P', 'R', 'B'};
constexpr uint32_t kVersion = 2;                // 1: the prompt's last token alone
constexpr size_t kHeaderBytes = 8 + 4 + 4 + 8;  // magic, version, payload bytes, checksum

constexpr uint32_t kBlocksMax = 16;
constexpr uint32_t kDimMax = 1 << 15;
constexpr uint32_t kHiddenMax = 1 << 14;
constexpr uint32_t kRegionsMax = 4096;
constexpr uint32_t kKnotsMax = 256;
constexpr size_t kNameBytesMax = 64;

double sigmoid(double x) { return 1 / (1 + std::exp(-std::clamp(x, -30.0, 30.0))); }

class Writer {
 public:
  template <typename T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  template <typename T>
  void put_all(const std::vector<T>& values) {
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void put_text(std::string_view text) {
    put(static_cast<uint32_t>(text.size()));
    bytes_.append(text);
  }
  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_;
};

// Reads within bounds; after the first failure everything is zero and ok() false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }
  template <typename T>
  T get() {
    T value{};
    if (take(sizeof(T))) std::memcpy(&value, taken_, sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> get_all(size_t count) {
    if (count > rest_.size() / sizeof(T) || !take(count * sizeof(T))) return ok_ = false, std::vector<T>();
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), taken_, count * sizeof(T));
    return values;
  }
  std::string get_text(size_t bytes_max) {
    const size_t size = get<uint32_t>();
    if (size > bytes_max || !take(size)) return ok_ = false, std::string();
    return std::string(taken_, size);
  }

 private:
  bool take(size_t count) {
    if (!ok_ || rest_.size() < count) return ok_ = false;
    taken_ = rest_.data();
    rest_.remove_prefix(count);
    return true;
  }
  std::string_view rest_;
  const char* taken_ = nullptr;
  bool ok_ = true;
};

// Here and below `states` is blocks * dim.
size_t inputs_of(uint32_t sources, size_t states) {
  return ((sources & kProbePrompt) != 0 ? 2 * states : 0) + ((sources & kProbeAnswer) != 0 ? states : 0) +
         ((sources & kProbeFirst) != 0 ? TokenFacts::kFirstCount : 0) +
         ((sources & kProbeFacts) != 0 ? TokenFacts::kCount : 0);
}

void write_head(Writer& out, const ProbeHead& head) {
  out.put(head.sources);
  out.put(static_cast<uint32_t>(head.hidden()));
  out.put_all(head.mean);
  out.put_all(head.inv_deviation);
  out.put_all(head.weights);
  out.put_all(head.scales);
  out.put_all(head.biases);
  out.put_all(head.out);
  out.put(head.bias);
  out.put(static_cast<uint32_t>(head.knots.size()));
  out.put_all(head.knots);
  out.put_all(head.knot_logits);
}

bool finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

// Empty when it is fine.
std::string read_head(Reader& in, size_t states, uint32_t allowed, ProbeHead& head) {
  head.sources = in.get<uint32_t>();
  const uint32_t hidden = in.get<uint32_t>();
  if (!in.ok() || head.sources == 0 || (head.sources & ~allowed) != 0 || hidden > kHiddenMax) {
    return fmt::format("a head of {} units over inputs {:#x}; expected at most {} and some of {:#x}", hidden,
                       head.sources, kHiddenMax, allowed);
  }
  const size_t inputs = inputs_of(head.sources, states);
  head.mean = in.get_all<float>(inputs);
  head.inv_deviation = in.get_all<float>(inputs);
  head.weights = in.get_all<int8_t>(inputs * hidden);
  head.scales = in.get_all<float>(hidden);
  head.biases = in.get_all<float>(hidden);
  head.out = in.get_all<float>(hidden);
  head.bias = in.get<float>();
  const uint32_t knots = in.get<uint32_t>();
  if (!in.ok() || knots > kKnotsMax) return fmt::format("{} knots, expected at most {}", knots, kKnotsMax);
  head.knots = in.get_all<float>(knots);
  head.knot_logits = in.get_all<float>(knots);
  if (!in.ok()) return "the file ends in a head";
  if (!finite(head.mean) || !finite(head.inv_deviation) || !finite(head.scales) || !finite(head.biases) ||
      !finite(head.out) || !std::isfinite(head.bias)) {
    return "a head holds numbers that are not finite";
  }
  for (const std::vector<float>* list : {&head.knots, &head.knot_logits}) {
    for (size_t i = 0; i < list->size(); ++i) {
      if (!std::isfinite((*list)[i]) || (i > 0 && !((*list)[i] > (*list)[i - 1])))
        return "knots that do not rise";
    }
  }
  return {};
}

std::string read_regions(Reader& in, size_t states, ProbeRegions& regions) {
  const uint32_t count = in.get<uint32_t>();
  if (!in.ok() || count > kRegionsMax)
    return fmt::format("{} regions, expected at most {}", count, kRegionsMax);
  regions.mean = in.get_all<float>(2 * states);
  regions.inv_deviation = in.get_all<float>(2 * states);
  regions.centres = in.get_all<int8_t>(2 * states * count);
  regions.step = in.get<float>();
  regions.radius = in.get_all<float>(count);
  regions.near = in.get<float>();
  regions.far = in.get<float>();
  if (!in.ok()) return "the file ends in the regions";
  const auto positive = [](float x) { return std::isfinite(x) && x > 0; };
  if (!finite(regions.mean) || !finite(regions.inv_deviation) || !std::isfinite(regions.step) ||
      !std::all_of(regions.radius.begin(), regions.radius.end(), positive) || !positive(regions.near) ||
      !std::isfinite(regions.far) || regions.far < regions.near) {
    return "the regions hold numbers out of their range";
  }
  return {};
}

// What does not count is not computed.
double mix(double familiarity, const ProbeHead& known, const ProbeHead& unknown, const ProbeInput& input) {
  double sum = 0;
  if (familiarity > 0) sum += familiarity * sigmoid(known.logit(input));
  if (familiarity < 1) sum += (1 - familiarity) * sigmoid(unknown.logit(input));
  return sum;
}

}  // namespace

std::string ProbeModel::to_text() const {
  return fmt::format("{}, {} layers of {}, {} tokens, fingerprint {:016x}", architecture, layers, dim, vocab,
                     fingerprint);
}

void TokenFacts::add(float logprob, float entropy, float margin) {
  logprob = std::max(logprob, -30.0f);
  if (tokens_ == 0) {
    first_[0] = logprob;
    first_[1] = entropy;
    first_[2] = margin;
  }
  ++tokens_;
  logprob_last_ = logprob;
  entropy_last_ = entropy;
  if (logprob < logprob_min_) {
    second_min_ = logprob_min_;
    logprob_min_ = logprob;
  } else {
    second_min_ = std::min(second_min_, logprob);
  }
  entropy_max_ = std::max(entropy_max_, entropy);
  margin_min_ = std::min(margin_min_, margin);
  logprob_sum_ += static_cast<double>(logprob);
  entropy_sum_ += static_cast<double>(entropy);
  margin_sum_ += static_cast<double>(margin);
}

std::array<float, TokenFacts::kCount> TokenFacts::values() const {
  const double n = std::max(tokens_, 1);
  return {first_[0],
          first_[1],
          first_[2],
          logprob_last_,
          logprob_min_,
          second_min_,
          static_cast<float>(logprob_sum_ / n),
          static_cast<float>(logprob_sum_),
          entropy_last_,
          entropy_max_,
          static_cast<float>(entropy_sum_ / n),
          margin_min_,
          static_cast<float>(margin_sum_ / n),
          std::log1p(static_cast<float>(tokens_))};
}

double ProbeHead::calibrated(double score) const {
  constexpr double kBeyond = 0.01;  // so that order is kept
  const size_t count = knots.size();
  if (count == 0) return score;
  const auto knot = [&](size_t i) { return static_cast<double>(knots[i]); };
  const auto value = [&](size_t i) { return static_cast<double>(knot_logits[i]); };
  if (score <= knot(0)) return value(0) + kBeyond * (score - knot(0));
  if (score >= knot(count - 1)) return value(count - 1) + kBeyond * (score - knot(count - 1));
  size_t i = 1;
  while (score > knot(i)) ++i;
  return value(i - 1) + (value(i) - value(i - 1)) * (score - knot(i - 1)) / (knot(i) - knot(i - 1));
}

namespace {

[[gnu::always_inline]] inline double score_loops(const ProbeHead& head, const ProbeInput& input) {
  const auto& [sources, mean, inv_deviation, weights, scales, biases, out, bias, knots, knot_logits] = head;
  const size_t inputs = head.inputs(), hidden = head.hidden();
  // Each unit's sum runs over the parts of the input where they lie, so that nothing is gathered.
  struct Part {
    const float* values;
    size_t count;
  };
  const Part parts[] = {{input.prompt.data(), (sources & kProbePrompt) != 0 ? input.prompt.size() : 0},
                        {input.answer.data(), (sources & kProbeAnswer) != 0 ? input.answer.size() : 0},
                        {input.facts.data(), (sources & kProbeFirst) != 0 ? TokenFacts::kFirstCount : 0},
                        {input.facts.data(), (sources & kProbeFacts) != 0 ? TokenFacts::kCount : 0}};
  constexpr size_t kLanes = 16;
  constexpr size_t kUnits = 512;  // at once, so that an input is standardised seldom
  float sums[kUnits][kLanes];
  double total = static_cast<double>(bias);
  for (size_t first = 0; first < hidden; first += kUnits) {
    const size_t units = std::min(kUnits, hidden - first);
    std::memset(sums, 0, units * sizeof sums[0]);
    size_t at = 0;
    for (const Part& part : parts) {
      for (size_t begin = 0; begin < part.count; begin += 64) {
        const size_t count = std::min<size_t>(64, part.count - begin);
        float x[64] = {};
        for (size_t i = 0; i < count; ++i)
          x[i] = (part.values[begin + i] - mean[at + begin + i]) * inv_deviation[at + begin + i];
        for (size_t h = 0; h < units; ++h) {
          const int8_t* row = &weights[(first + h) * inputs + at + begin];
          size_t i = 0;
          for (; i + kLanes <= count; i += kLanes)
            for (size_t lane = 0; lane < kLanes; ++lane)
              sums[h][lane] += x[i + lane] * static_cast<float>(row[i + lane]);
          for (; i < count; ++i) sums[h][i % kLanes] += x[i] * static_cast<float>(row[i]);
        }
      }
      at += part.count;
    }
    for (size_t h = 0; h < units; ++h) {
      float sum = 0;
      for (const float lane : sums[h]) sum += lane;
      total +=
          static_cast<double>(out[first + h] * std::max(0.0f, biases[first + h] + scales[first + h] * sum));
    }
  }
  return total;
}

#ifdef __x86_64__
[[gnu::target("avx512f,avx512bw")]] double score_avx512(const ProbeHead& head, const ProbeInput& input) {
  return score_loops(head, input);
}
[[gnu::target("avx2,fma")]] double score_avx2(const ProbeHead& head, const ProbeInput& input) {
  return score_loops(head, input);
}
#endif

}  // namespace

double ProbeHead::score(const ProbeInput& input) const {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512bw")) return score_avx512(*this, input);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return score_avx2(*this, input);
#endif
  return score_loops(*this, input);
}

double ProbeRegions::familiarity(std::span<const float> prompt) const {
  double nearest = std::numeric_limits<double>::infinity();
  for (size_t c = 0; c < count(); ++c) {
    const int8_t* centre = &centres[c * prompt.size()];
    float sum = 0;
    for (size_t i = 0; i < prompt.size(); ++i) {
      const float d = (prompt[i] - mean[i]) * inv_deviation[i] - step * static_cast<float>(centre[i]);
      sum += d * d;
    }
    nearest = std::min(nearest, std::sqrt(static_cast<double>(sum)) / static_cast<double>(radius[c]));
  }
  if (nearest <= static_cast<double>(near)) return 1;
  if (!(nearest < static_cast<double>(far))) return 0;
  return (static_cast<double>(far) - nearest) / static_cast<double>(far - near);
}

Result<Probe> Probe::parse(std::string_view bytes) {
  const auto bad = [](std::string what) {
    return make_error(ErrorCode::kCorrupt, "probe file: " + std::move(what));
  };
  if (bytes.size() > kBytesMax)
    return bad(fmt::format("{} bytes, expected at most {}", bytes.size(), kBytesMax));
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    return bad("it does not begin with \"HEDGEPRB\"; `hedge route probe train` writes such files");
  const uint32_t version = load_le<uint32_t>(bytes.data() + 8);
  if (version != kVersion)
    return bad(
        fmt::format("version {}, expected {}; `hedge route probe train` makes one", version, kVersion));
  const uint32_t size = load_le<uint32_t>(bytes.data() + 12);
  const std::string_view payload = bytes.substr(kHeaderBytes);
  if (size != payload.size())
    return bad(fmt::format("expected {} bytes after the header, got {}", size, payload.size()));
  if (load_le<uint64_t>(bytes.data() + 16) != fnv1a(payload))
    return bad("its checksum is not that of its content");

  Reader in(payload);
  Probe probe;
  probe.model.architecture = in.get_text(kNameBytesMax);
  probe.model.layers = in.get<uint32_t>();
  probe.model.dim = in.get<uint32_t>();
  probe.model.vocab = in.get<uint32_t>();
  probe.model.fingerprint = in.get<uint64_t>();
  const uint32_t count = in.get<uint32_t>();
  if (!in.ok() || probe.model.dim == 0 || probe.model.dim > kDimMax || count == 0 || count > kBlocksMax)
    return bad(fmt::format("{} blocks of {}, expected 1 to {} of 1 to {}", count, probe.model.dim, kBlocksMax,
                           kDimMax));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t block = in.get<uint32_t>();
    if (block >= probe.model.layers || (i > 0 && static_cast<int>(block) <= probe.blocks.back()))
      return bad(fmt::format("block {} of {} layers, expected rising numbers", block, probe.model.layers));
    probe.blocks.push_back(static_cast<int>(block));
  }
  const size_t states = size_t{count} * probe.model.dim;
  constexpr uint32_t kBefore = kProbePrompt | kProbeFirst;
  std::string problem = read_regions(in, states, probe.regions);
  if (problem.empty()) problem = read_head(in, states, kBefore, probe.before);
  if (problem.empty()) problem = read_head(in, states, kProbeSources, probe.answer);
  if (problem.empty()) problem = read_head(in, states, kProbeFirst, probe.before_unknown);
  if (problem.empty()) problem = read_head(in, states, kProbeFirst | kProbeFacts, probe.answer_unknown);
  if (!problem.empty()) return bad(std::move(problem));
  if (!in.at_end()) return bad("there is more after its end");
  return probe;
}

std::string Probe::to_bytes() const {
  Writer out;
  out.put_text(model.architecture);
  out.put(model.layers);
  out.put(model.dim);
  out.put(model.vocab);
  out.put(model.fingerprint);
  out.put(static_cast<uint32_t>(blocks.size()));
  for (const int block : blocks) out.put(static_cast<uint32_t>(block));
  out.put(static_cast<uint32_t>(regions.count()));
  out.put_all(regions.mean);
  out.put_all(regions.inv_deviation);
  out.put_all(regions.centres);
  out.put(regions.step);
  out.put_all(regions.radius);
  out.put(regions.near);
  out.put(regions.far);
  for (const ProbeHead* head : {&before, &answer, &before_unknown, &answer_unknown}) write_head(out, *head);
  Writer whole;
  for (const char c : kMagic) whole.put(c);
  whole.put(kVersion);
  whole.put(static_cast<uint32_t>(out.bytes().size()));
  whole.put(fnv1a(out.bytes()));
  return whole.bytes() + out.bytes();
}

Status Probe::check(const ProbeModel& other) const {
  if (other == model) return {};
  return make_error(ErrorCode::kInvalidArgument, "the probe was fitted on another model: " + model.to_text() +
                                                     "; this one is " + other.to_text() +
                                                     ". `hedge route probe train` fits one");
}

double Probe::wrong_before(const ProbeInput& input, double familiarity) const {
  return mix(familiarity, before, before_unknown, input);
}

double Probe::wrong(const ProbeInput& input, double familiarity) const {
  return mix(familiarity, answer, answer_unknown, input);
}

}  // namespace hedge::route
