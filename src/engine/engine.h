// The local engine: one GGUF model, one engine thread that owns the KV cache and the batch, any number of
// requests that are decoded together. HTTP threads meet it only through bounded queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/backend.h"
#include "chat/state_probe.h"
#include "gguf/file.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace hedge::model {
struct Config;
}

namespace hedge::engine {

struct Options {
  int threads = 0;             // 0: all cores this process may use
  int context_tokens = 0;      // per request; 0: the model's own, at most 4096
  int slots = 4;               // sequences decoded together
  std::string kv_type = "q8";  // of the KV cache: "q8", "q5" or "f16" (model/kv_cache.h)
  int kv_memory_mb = 0;        // MiB of all KV caches, cached prefixes included; 0: by the machine (slots.h)
  std::string kv_disk_dir;     // of the KV cache's disk tier; empty: none (kv_disk.h)
  int kv_disk_mb = 1024;       // MiB of it; 0: none
  std::function<void(const std::string&)> warn;  // told what works less well than asked for; any thread
  int queue_max = 32;                            // requests that wait for a slot; more get kExhausted
  int prefill_chunk = 256;                       // most prompt rows per step
  int prefill_budget_ms = 30;        // beside running answers only so many rows as take about this long
  std::string speculation = "auto";  // "auto", "off" or "always" (engine/speculation.h)
  std::vector<int> state_blocks;     // blocks whose output requests may ask for (chat::States), rising
  // Asked once, when the file is open, for the probe that reads the states of requests which want confidence;
  // its blocks take the place of state_blocks. Not set, or null: none.
  std::function<Result<std::shared_ptr<const chat::StateProbe>>(const gguf::File&, const model::Config&)>
      probe;
  std::string alias;  // served model name; empty: the file's name without folder and ".gguf"
};

// Totals since start, for /metrics. A copy, consistent enough for counters.
struct Counters {
  uint64_t requests = 0;
  uint64_t requests_cancelled = 0;
  uint64_t requests_rejected = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t draft_tokens = 0;
  uint64_t draft_tokens_accepted = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  uint64_t steps = 0;
  int active = 0;
  int queued = 0;
  size_t kv_bytes_max = 0;   // all KV caches may take so much
  size_t kv_bytes_used = 0;  // and take so much
  size_t kv_pages_cached = 0;
  uint64_t kv_pages_hit = 0;
  uint64_t kv_pages_evicted = 0;
  size_t kv_disk_bytes = 0;
  uint64_t kv_disk_pages_read = 0;
  uint64_t kv_disk_pages_written = 0;
  uint64_t kv_disk_files_rejected = 0;
};

// An answer in the making, as the last step left it.
struct Running {
  size_t prompt_tokens = 0;
  size_t cached_tokens = 0;  // of the prompt, found in the KV cache
  size_t prompt_read = 0;    // of the prompt, found or computed
  size_t answer_tokens = 0;
  double tokens_per_second = 0;  // of the answer, since its first token
  double age_seconds = 0;        // since the request came
};

class Engine : public chat::Backend {
 public:
  // Maps the file, checks it, starts the engine thread. Fails with the file's error, never half started.
  static Result<std::unique_ptr<Engine>> load(const std::string& path, const Options& options);

  virtual const text::Tokenizer& tokenizer() const = 0;
  virtual const text::PromptFormat& prompt_format() const = 0;
  virtual const gguf::File& file() const = 0;
  virtual const model::Config& config() const = 0;
  virtual Counters counters() const = 0;

  // By what name the prefix tree and its disk tier know the whole pages of a prompt, hexadecimal; none where
  // no disk tier is open. Whoever has the same fingerprint and the pages goes on from them.
  struct KvName {
    std::string fingerprint, key;
    size_t tokens = 0;
  };
  virtual std::optional<KvName> kv_name(std::span<const int32_t>) const { return std::nullopt; }
  // In the order in which they were admitted.
  virtual std::vector<Running> running() const = 0;
  virtual int slots() const = 0;  // so many answers run at once
};

}  // namespace hedge::engine
