#include "model/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "model/attention.h"
#include "model/matmul.h"
#include "os/memory.h"

namespace hedge::model {
namespace {

using kernels::Activations;

// With so few rows every worker does the norms and the quantising of all rows itself, in memory of its own:
// cheaper than a barrier.
constexpr size_t kPrivateRowsMax = 2;
// From this many rows on, interleaving a panel costs less than it saves.
constexpr size_t kPanelRowsMin = 6;
// Rows of a prompt whose gate and up tiles stay in the first cache.
constexpr size_t kTileRows = 48;
// Runs of at least this many rows of one sequence go through the tiled attention.
constexpr size_t kTiledRowsMin = 4;

// A piece of the batch for attention: rows of one cache at neighbouring positions.
struct Run {
  size_t first_row;
  size_t rows;
  bool tiled;  // else one row, that of a decode
};

// What each worker owns.
struct Local {
  Local(const Config& config, const kernels::Table& table, size_t columns_max, size_t context_tokens)
      : matmul(table, columns_max),
        attention(static_cast<size_t>(config.head_dim), context_tokens),
        activations(kPrivateRowsMax, columns_max),
        stream(kPrivateRowsMax * static_cast<size_t>(config.dim)),
        plain(kPrivateRowsMax * static_cast<size_t>(config.dim)),
        gate_tile(kTileRows * kernels::kActGroup),
        up_tile(kTileRows * kernels::kActGroup),
        attended(kPrivateRowsMax * static_cast<size_t>(config.heads) * static_cast<size_t>(config.head_dim)),
        padded(round_up(static_cast<uint64_t>(config.head_dim), kernels::kActGroup)) {}

  MatmulScratch matmul;
  AttentionScratch attention;
  ActivationBuffer activations;
  std::vector<float> stream;              // [kPrivateRowsMax, dim] this worker's copy of the residual stream
  std::vector<float> plain;               // [kPrivateRowsMax, dim] normed rows
  std::vector<float> gate_tile, up_tile;  // [kTileRows, kActGroup]
  std::vector<float> attended;            // [kPrivateRowsMax, heads * head_dim]
  std::vector<float> padded;              // one head
};

class ForwardImpl final : public Forward {
 public:
  ForwardImpl(const Config& config, const Weights& weights, const kernels::Table& table, os::Team& team,
              int rows_max, int outputs_max, int context_tokens)
      : config_(config),
        weights_(weights),
        table_(table),
        team_(team),
        rows_max_(rows_max),
        outputs_max_(outputs_max),
        dim_(static_cast<size_t>(config.dim)),
        head_dim_(static_cast<size_t>(config.head_dim)),
        q_size_(static_cast<size_t>(config.heads) * head_dim_),
        kv_size_(static_cast<size_t>(config.kv_heads) * head_dim_),
        padded_head_dim_(round_up(head_dim_, kernels::kActGroup)),
        ffn_(static_cast<size_t>(config.ffn_dim)),
        columns_max_(std::max({dim_, q_size_, ffn_})),
        shared_activations_(static_cast<size_t>(rows_max), columns_max_),
        ffn_activations_(static_cast<size_t>(rows_max), ffn_) {
    const size_t rows = static_cast<size_t>(rows_max);
    stream_ = os::LazyArray<float>(rows * dim_);
    plain_ = os::LazyArray<float>(rows * dim_);
    query_ = os::LazyArray<float>(rows * q_size_);
    key_ = os::LazyArray<float>(rows * kv_size_);
    value_ = os::LazyArray<float>(rows * kv_size_);
    attended_ = os::LazyArray<float>(rows * q_size_);
    branch_ = os::LazyArray<float>(rows * dim_);
    gate_ = os::LazyArray<float>(rows * ffn_);
    up_ = os::LazyArray<float>(rows * ffn_);
    hidden_ = os::LazyArray<float>(rows * dim_);
    logits_ = os::LazyArray<float>(static_cast<size_t>(outputs_max) * static_cast<size_t>(config.vocab));
    rope_ = os::LazyArray<float>(rows * 4 * static_cast<size_t>(config.rope_dim));
    for (size_t i = 0; i < static_cast<size_t>(config.rope_dim) / 2; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / config.rope_dim;
      double global = config.rope_scale * std::pow(static_cast<double>(config.rope_base), exponent);
      if (!config.rope_factors.empty()) global /= config.rope_factors[i];
      frequencies_.push_back(global);
      frequencies_local_.push_back(std::pow(static_cast<double>(config.rope_base_local), exponent));
    }
    pieces_max_ = pieces_of(std::max(context_tokens - 1, 0), 0).count();
    partials_ = os::LazyArray<float>(rows * static_cast<size_t>(config.heads) * pieces_max_ *
                                     partial_floats(padded_head_dim_));
    single_.resize(rows);
    runs_.reserve(rows);
    for (int i = 0; i < team.threads(); ++i) {
      locals_.push_back(
          std::make_unique<Local>(config, table, columns_max_, static_cast<size_t>(context_tokens)));
    }
  }

  void run(std::span<const Row> rows, std::span<const int> outputs, Mode mode) override {
    HEDGE_CHECK(rows.size() <= static_cast<size_t>(rows_max_) && !rows.empty());
    rows_ = rows;
    outputs_ = outputs;
    private_ = rows.size() <= kPrivateRowsMax;
    mode_ = mode;
    switch (mode) {
      case Mode::kAuto:
        panel_ = rows.size() >= kPanelRowsMin;
        break;
      case Mode::kPrompt:
        panel_ = true;
        break;
      case Mode::kDecode:
        panel_ = false;
        break;
    }
    split_runs();
    team_.run([](void* self, os::Worker& worker) { static_cast<ForwardImpl*>(self)->layers(worker); }, this);
  }

  const float* logits(int first, int count) override {
    HEDGE_CHECK(count <= outputs_max_);
    head_first_ = static_cast<size_t>(first);
    head_count_ = static_cast<size_t>(count);
    team_.run([](void* self, os::Worker& worker) { static_cast<ForwardImpl*>(self)->head(worker); }, this);
    return logits_.data();
  }

  void tap(std::span<const int> blocks) override {
    tap_blocks_.assign(blocks.begin(), blocks.end());
    for (size_t i = 0; i < tap_blocks_.size(); ++i) {
      HEDGE_CHECK(tap_blocks_[i] >= 0 && tap_blocks_[i] < config_.layers);
      HEDGE_CHECK(i == 0 || tap_blocks_[i] > tap_blocks_[i - 1]);
    }
    tapped_ = os::LazyArray<float>(static_cast<size_t>(rows_max_) * tap_blocks_.size() * dim_);
  }

  std::span<const float> tapped(int index) const override {
    const size_t size = tap_blocks_.size() * dim_;
    HEDGE_CHECK(size > 0 && index >= 0 && static_cast<size_t>(index) < outputs_.size());
    return {&tapped_[static_cast<size_t>(index) * size], size};
  }

  int rows_max() const override { return rows_max_; }
  int outputs_max() const override { return outputs_max_; }

 private:
  // Consecutive rows of one cache, cut so that one unit of attention work stays within the tile memory.
  void split_runs() {
    runs_.clear();
    const size_t group = static_cast<size_t>(config_.heads / config_.kv_heads);
    const size_t longest = std::max<size_t>(1, std::min<size_t>(32, kAttentionQueriesMax / group));
    for (size_t r = 0; r < rows_.size();) {
      size_t end = r + 1;
      while (end < rows_.size() && end - r < longest && rows_[end].cache == rows_[r].cache &&
             rows_[end].position == rows_[end - 1].position + 1) {
        ++end;
      }
      const bool tiled = mode_ == Mode::kPrompt || (mode_ == Mode::kAuto && end - r >= kTiledRowsMin);
      if (tiled) {
        runs_.push_back(Run{r, end - r, true});
      } else {
        for (size_t i = r; i < end; ++i) runs_.push_back(Run{i, 1, false});
      }
      std::fill(single_.begin() + static_cast<long>(r), single_.begin() + static_cast<long>(end), !tiled);
      r = end;
    }
  }

  // ---- the program that all workers run together ----

  void layers(os::Worker& worker) {
    embed(worker);
    const Vector* pending_norm = nullptr;  // post-norm of the branch that is still to be added to the stream
    bool pending = false;
    size_t taps = 0;  // that are done
    for (int i = 0; i < config_.layers; ++i) {
      const Layer& layer = weights_.layers[static_cast<size_t>(i)];
      add_and_norm(worker, pending, pending_norm, layer.attention_norm);
      if (taps < tap_blocks_.size() && tap_blocks_[taps] == i - 1) keep_tapped(worker, taps++);
      project_qkv(worker, layer);
      rotate_and_store(worker, layer, i);
      attend(worker, i);
      project_attended(worker, layer, i);
      add_and_norm(worker, true, config_.post_norms ? &layer.post_attention_norm : nullptr, layer.ffn_norm);
      if (panel_ && !is_float(layer.gate) && !is_float(layer.up) && !is_float(layer.down)) {
        feed_forward_panels(worker, layer);
        project(worker, layer.down, ffn_activations_.view(ffn_), nullptr, ffn_);
      } else {
        feed_forward(worker, layer);
        quantize_phase(worker, gate_.data(), ffn_);
        project(worker, layer.down, activations(local(worker), ffn_), gate_.data(), ffn_);
      }
      pending = true;
      pending_norm = config_.post_norms ? &layer.post_ffn_norm : nullptr;
    }
    finish(worker, pending_norm);
  }

  Local& local(const os::Worker& worker) { return *locals_[static_cast<size_t>(worker.index())]; }

  float* stream_of(Local& mine) { return private_ ? mine.stream.data() : stream_.data(); }

  // Calls body(r) for every row: all of them in every worker when private, else each row once and a barrier
  // after.
  template <typename Body>
  void for_rows(os::Worker& worker, Body body) {
    if (private_) {
      for (size_t r = 0; r < rows_.size(); ++r) body(r);
      return;
    }
    constexpr size_t kRowsPerChunk = 4;
    const size_t chunks = (rows_.size() + kRowsPerChunk - 1) / kRowsPerChunk;
    for (size_t c = worker.take(chunks); c < chunks; c = worker.take(chunks)) {
      const size_t end = std::min(rows_.size(), (c + 1) * kRowsPerChunk);
      for (size_t r = c * kRowsPerChunk; r < end; ++r) body(r);
    }
    worker.barrier();
  }

  void embed(os::Worker& worker) {
    float* stream = stream_of(local(worker));
    const Matrix& table = weights_.embedding;
    const auto dequantize = quant::info(table.type).dequantize;
    for_rows(worker, [&](size_t r) {
      float* x = stream + r * dim_;
      dequantize(table.row(static_cast<size_t>(rows_[r].token)), x, dim_);
      if (config_.embedding_scale != 1.0f) table_.scale(config_.embedding_scale, x, dim_);
      if (!private_ || worker.index() == 0) fill_rope(r);
    });
  }

  float* angles_of(size_t r, bool local) {
    return &rope_[(r * 2 + (local ? 1 : 0)) * 2 * static_cast<size_t>(config_.rope_dim)];
  }

  // Cosine and sine of every rotated pair at the row's position, for the global base and the local one.
  void fill_rope(size_t r) {
    fill_angles(rows_[r].position, frequencies_, angles_of(r, false));
    if (config_.window > 0) fill_angles(rows_[r].position, frequencies_local_, angles_of(r, true));
  }

  void fill_angles(int position, const std::vector<double>& frequencies, float* c) const {
    const size_t pairs = frequencies.size();
    float* s = c + 2 * pairs;
    const size_t stride = config_.rope == Rope::kInterleaved ? 2 : 1;
    const size_t partner = config_.rope == Rope::kInterleaved ? 1 : pairs;
    for (size_t i = 0; i < pairs; ++i) {
      const double angle = position * frequencies[i];
      const size_t a = i * stride, b = a + partner;
      c[a] = c[b] = static_cast<float>(std::cos(angle));
      s[b] = static_cast<float>(std::sin(angle));
      s[a] = -s[b];
    }
  }

  Activations activations(Local& mine, size_t columns) {
    return private_ ? mine.activations.view(columns) : shared_activations_.view(columns);
  }

  // stream += post_norm(branch); then norm and quantise for the next product.
  void add_and_norm(os::Worker& worker, bool pending, const Vector* post_norm, const Vector& norm) {
    Local& mine = local(worker);
    float* stream = stream_of(mine);
    float* plain = private_ ? mine.plain.data() : plain_.data();
    const Activations act = activations(mine, dim_);
    for_rows(worker, [&](size_t r) {
      float* x = stream + r * dim_;
      float* normed = plain + r * dim_;
      if (pending) add_branch(r, post_norm, normed, x);
      table_.rms_norm(x, norm.data(), config_.norm_eps, normed, dim_);
      table_.quantize_row(normed, dim_, &act, r);
    });
  }

  void add_branch(size_t r, const Vector* post_norm, float* scratch, float* x) {
    const float* branch = &branch_[r * dim_];
    if (post_norm != nullptr) {
      table_.rms_norm(branch, post_norm->data(), config_.norm_eps, scratch, dim_);
      branch = scratch;
    }
    table_.add(branch, x, dim_);
  }

  MatmulInput normed_input(Local& mine, const Activations& act) {
    return MatmulInput{&act, private_ ? mine.plain.data() : plain_.data(), dim_, rows_.size(), panel_};
  }

  void project_qkv(os::Worker& worker, const Layer& layer) {
    Local& mine = local(worker);
    const Activations act = activations(mine, dim_);
    const MatmulJob jobs[] = {{&layer.query, query_.data(), q_size_},
                              {&layer.key, key_.data(), kv_size_},
                              {&layer.value, value_.data(), kv_size_}};
    matmul_phase(worker, table_, mine.matmul, jobs, normed_input(mine, act), [](size_t, size_t, size_t) {});
    worker.barrier();
  }

  void rotate(float* head, const float* angles) const {
    const size_t n = static_cast<size_t>(config_.rope_dim);
    table_.rotate(head, angles, angles + n, n, config_.rope == Rope::kInterleaved);
  }

  void rotate_and_store(os::Worker& worker, const Layer& layer, int index) {
    Local& mine = local(worker);
    const bool near = config_.local[static_cast<size_t>(index)];
    for (size_t r = worker.take(rows_.size()); r < rows_.size(); r = worker.take(rows_.size())) {
      const float* angles = angles_of(r, near);
      for (int h = 0; h < config_.heads; ++h) {
        float* q = &query_[r * q_size_ + static_cast<size_t>(h) * head_dim_];
        if (config_.qk_norm) table_.rms_norm(q, layer.query_norm.data(), config_.norm_eps, q, head_dim_);
        rotate(q, angles);
      }
      const size_t position = static_cast<size_t>(rows_[r].position);
      for (int h = 0; h < config_.kv_heads; ++h) {
        float* k = &key_[r * kv_size_ + static_cast<size_t>(h) * head_dim_];
        if (config_.qk_norm) table_.rms_norm(k, layer.key_norm.data(), config_.norm_eps, k, head_dim_);
        rotate(k, angles);
        store(*rows_[r].cache, index, h, position, k,
              &value_[r * kv_size_ + static_cast<size_t>(h) * head_dim_], mine.padded);
      }
    }
    worker.barrier();
  }

  // One head's key and value at a position. `padded` holds a head.
  void store(KvCache& cache, int layer, int head, size_t position, const float* k, const float* v,
             std::vector<float>& padded) const {
    const size_t block = position / kKvBlock, slot = position % kKvBlock;
    switch (cache.type()) {
      case KvType::kF16:
        table_.f32_to_f16(k, cache.keys_f16(layer, head, block) + slot * head_dim_, head_dim_);
        table_.f32_to_f16(v, cache.values_f16(layer, head, block) + slot * head_dim_, head_dim_);
        break;
      case KvType::kQ8:
      case KvType::kQ5: {
        const auto rotated = [&](const float* x) {
          std::copy(x, x + head_dim_, padded.begin());
          std::fill(padded.begin() + static_cast<long>(head_dim_), padded.end(), 0.0f);
          table_.hadamard(padded.data(), padded_head_dim_);
          return static_cast<const float*>(padded.data());
        };
        const bool packed = cache.layout().packs(layer);
        const kernels::KvBlock at = cache.block_q8(layer, head, block);
        const kernels::KvPacked packed_at = packed ? cache.block_q5(layer, head, block) : kernels::KvPacked{};
        const float* key = rotated(k);
        table_.store_key(key, padded_head_dim_, &at, slot);
        if (packed) table_.pack_key(key, padded_head_dim_, &packed_at, slot);
        const float* value = rotated(v);
        table_.store_value(value, padded_head_dim_, &at, slot);
        if (packed) table_.pack_value(value, padded_head_dim_, &packed_at, slot);
        break;
      }
    }
  }

  size_t units_of(const Run& run, int window) const {
    const size_t kv_heads = static_cast<size_t>(config_.kv_heads);
    if (run.tiled) return kv_heads;
    const Row& row = rows_[run.first_row];
    if (row.cache->type() == KvType::kF16) return static_cast<size_t>(config_.heads);
    return kv_heads * pieces_of(row.position, window).count();
  }

  // Units: (run, KV head) for runs of a prompt; for single rows (query head) over f16 and else (KV head,
  // piece of the positions). Numbered run by run.
  void attend(os::Worker& worker, int index) {
    Local& mine = local(worker);
    const size_t kv_heads = static_cast<size_t>(config_.kv_heads);
    const size_t heads = static_cast<size_t>(config_.heads);
    const size_t group = heads / kv_heads;
    const int window = config_.local[static_cast<size_t>(index)] ? config_.window : 0;
    size_t total = 0;
    for (const Run& run : runs_) total += units_of(run, window);
    for (size_t taken = worker.take(total); taken < total; taken = worker.take(total)) {
      size_t inner = taken, i = 0;
      for (size_t n; inner >= (n = units_of(runs_[i], window)); ++i) inner -= n;
      const Run& run = runs_[i];
      const Row& first = rows_[run.first_row];
      const KvType type = first.cache->type();
      const Pieces pieces = pieces_of(first.position, window);
      const size_t kv_head = run.tiled || type != KvType::kF16 ? inner % kv_heads : inner / group;
      AttentionInput input;
      input.queries = &query_[run.first_row * q_size_ + kv_head * group * head_dim_];
      input.query_stride = input.out_stride = q_size_;
      input.cache = first.cache;
      input.layer = index;
      input.kv_head = static_cast<int>(kv_head);
      input.out = &attended_[run.first_row * q_size_ + kv_head * group * head_dim_];
      input.head_dim = head_dim_;
      input.heads = group;
      input.scale = config_.attention_scale;
      input.window = window;
      input.first_position = first.position;
      switch (type) {
        case KvType::kF16:
          run.tiled ? attend_tiled_f16(table_, mine.attention, input, run.rows)
                    : attend_single_f16(table_, mine.attention, input, inner % group);
          break;
        case KvType::kQ8:
        case KvType::kQ5:
          if (run.tiled) {
            attend_tiled_int(table_, mine.attention, input, run.rows);
          } else {
            const size_t piece = inner / kv_heads;
            attend_piece_int(
                table_, mine.attention, input, pieces.first + piece,
                partials_of(run.first_row, kv_head * group) + piece * partial_floats(padded_head_dim_),
                pieces_max_ * partial_floats(padded_head_dim_));
          }
          break;
      }
    }
    worker.barrier();
  }

  // [pieces_max_, partial_floats] of a row's head.
  float* partials_of(size_t row, size_t head) {
    return &partials_[(row * static_cast<size_t>(config_.heads) + head) * pieces_max_ *
                      partial_floats(padded_head_dim_)];
  }

  // What attention gave for row r: where it stands, or merged from its pieces into `out`.
  const float* attended_row(size_t r, int index, float* scratch, float* out) {
    if (!single_[r] || rows_[r].cache->type() == KvType::kF16) return &attended_[r * q_size_];
    const int window = config_.local[static_cast<size_t>(index)] ? config_.window : 0;
    const size_t count = pieces_of(rows_[r].position, window).count();
    for (size_t h = 0; h < static_cast<size_t>(config_.heads); ++h) {
      merge_partials(table_, partials_of(r, h), count, padded_head_dim_, scratch, out + h * head_dim_,
                     head_dim_);
    }
    return out;
  }

  // Rows of attention to the output product.
  void project_attended(os::Worker& worker, const Layer& layer, int index) {
    Local& mine = local(worker);
    const Activations act = activations(mine, q_size_);
    float* merged = private_ ? mine.attended.data() : attended_.data();
    const float* plain = attended_.data();
    for_rows(worker, [&](size_t r) {
      const float* row = attended_row(r, index, mine.padded.data(), merged + r * q_size_);
      table_.quantize_row(row, q_size_, &act, r);
      if (r == 0 && row == merged) plain = merged;
    });
    project(worker, layer.output, act, plain, q_size_);
  }

  void quantize_phase(os::Worker& worker, const float* values, size_t columns) {
    const Activations act = activations(local(worker), columns);
    for_rows(worker, [&](size_t r) { table_.quantize_row(values + r * columns, columns, &act, r); });
  }

  // branch = weights . values
  void project(os::Worker& worker, const Matrix& weights, const Activations& act, const float* values,
               size_t columns) {
    Local& mine = local(worker);
    const MatmulJob jobs[] = {{&weights, branch_.data(), dim_}};
    matmul_phase(worker, table_, mine.matmul, jobs, MatmulInput{&act, values, columns, rows_.size(), panel_},
                 [](size_t, size_t, size_t) {});
    worker.barrier();
  }

  // The stream of the wanted rows, as the block before left it. It changes again only behind a barrier.
  void keep_tapped(os::Worker& worker, size_t tap) {
    if (worker.index() != 0) return;
    const float* stream = stream_of(local(worker));
    for (size_t i = 0; i < outputs_.size(); ++i)
      keep_tapped_row(stream + static_cast<size_t>(outputs_[i]) * dim_, i, tap);
  }

  void keep_tapped_row(const float* x, size_t output, size_t tap) {
    std::copy(x, x + dim_, &tapped_[(output * tap_blocks_.size() + tap) * dim_]);
  }

  // gate = activation(W_gate x) * (W_up x). Each chunk computes the same rows of both, so that the product is
  // local.
  void feed_forward(os::Worker& worker, const Layer& layer) {
    Local& mine = local(worker);
    const Activations act = activations(mine, dim_);
    const MatmulInput input = normed_input(mine, act);
    const MatmulJob gate_job{&layer.gate, gate_.data(), ffn_};
    const MatmulJob up_job{&layer.up, up_.data(), ffn_};
    const size_t step = chunk_rows(table_, layer.gate, input.panel, worker.count());
    const size_t chunks = (ffn_ + step - 1) / step;
    for (size_t c = worker.take(chunks); c < chunks; c = worker.take(chunks)) {
      const size_t first = c * step;
      const size_t count = std::min(step, ffn_ - first);
      matmul_chunk(table_, mine.matmul, gate_job, input, first, count);
      matmul_chunk(table_, mine.matmul, up_job, input, first, count);
      for (size_t r = 0; r < rows_.size(); ++r) {
        float* gate = &gate_[r * ffn_ + first];
        const float* up = &up_[r * ffn_ + first];
        activate(gate, up, count);
      }
    }
    worker.barrier();
  }

  // The same for many rows: each chunk is as wide as a group of the next product's input, so that it is
  // quantised where it was made and never written as floats.
  void feed_forward_panels(os::Worker& worker, const Layer& layer) {
    constexpr size_t kWidth = kernels::kActGroup;
    Local& mine = local(worker);
    const Activations in = activations(mine, dim_);
    const Activations out = ffn_activations_.view(ffn_);
    const size_t step = table_.panel_rows;
    const size_t parts = kWidth / step;
    const size_t chunks = ffn_ / kWidth;
    for (size_t c = worker.take(chunks); c < chunks; c = worker.take(chunks)) {
      const size_t first = c * kWidth;
      kernels::Panel gate[kWidth], up[kWidth];
      for (size_t i = 0; i < parts; ++i) {
        gate[i] = fill_panel(table_, mine.matmul, layer.gate, first + i * step, step, 2 * i);
        up[i] = fill_panel(table_, mine.matmul, layer.up, first + i * step, step, 2 * i + 1);
      }
      for (size_t r = 0; r < rows_.size(); r += kTileRows) {
        const size_t count = std::min(kTileRows, rows_.size() - r);
        const Activations rows = in.from(r);
        for (size_t i = 0; i < parts; ++i) {
          table_.gemm_panel(&gate[i], &rows, count, mine.gate_tile.data() + i * step, kWidth, step);
          table_.gemm_panel(&up[i], &rows, count, mine.up_tile.data() + i * step, kWidth, step);
        }
        activate(mine.gate_tile.data(), mine.up_tile.data(), count * kWidth);
        table_.quantize_group_of(mine.gate_tile.data(), count, &out, r, c);
      }
    }
    worker.barrier();
  }

  // gate = activation(gate) * up
  void activate(float* gate, const float* up, size_t count) const {
    switch (config_.activation) {
      case Activation::kSilu:
        table_.silu_mul(gate, up, gate, count);
        break;
      case Activation::kGelu:
        table_.gelu_mul(gate, up, gate, count);
        break;
    }
  }

  // The last branch and the final norm, for the rows whose logits are wanted.
  void finish(os::Worker& worker, const Vector* post_norm) {
    Local& mine = local(worker);
    float* stream = stream_of(mine);
    for (size_t i = worker.take(outputs_.size()); i < outputs_.size(); i = worker.take(outputs_.size())) {
      const size_t r = static_cast<size_t>(outputs_[i]);
      float* x = stream + r * dim_;
      add_branch(r, post_norm, mine.plain.data(), x);
      if (!tap_blocks_.empty() && tap_blocks_.back() == config_.layers - 1)
        keep_tapped_row(x, i, tap_blocks_.size() - 1);
      table_.rms_norm(x, weights_.output_norm.data(), config_.norm_eps, &hidden_[i * dim_], dim_);
    }
  }

  void head(os::Worker& worker) {
    Local& mine = local(worker);
    const bool alone = head_count_ <= kPrivateRowsMax;
    const Activations act = alone ? mine.activations.view(dim_) : shared_activations_.view(dim_);
    const float* hidden = &hidden_[head_first_ * dim_];
    if (alone) {
      for (size_t r = 0; r < head_count_; ++r) table_.quantize_row(hidden + r * dim_, dim_, &act, r);
    } else {
      for (size_t r = worker.take(head_count_); r < head_count_; r = worker.take(head_count_)) {
        table_.quantize_row(hidden + r * dim_, dim_, &act, r);
      }
      worker.barrier();
    }
    const MatmulJob jobs[] = {{&weights_.head, logits_.data(), static_cast<size_t>(config_.vocab)}};
    matmul_phase(
        worker, table_, mine.matmul, jobs,
        MatmulInput{&act, hidden, dim_, head_count_, mode_ == Mode::kAuto && head_count_ > kDecodeRowsMax},
        [](size_t, size_t, size_t) {});
  }

  const Config& config_;
  const Weights& weights_;
  const kernels::Table& table_;
  os::Team& team_;
  const int rows_max_;
  const int outputs_max_;
  const size_t dim_, head_dim_, q_size_, kv_size_, padded_head_dim_, ffn_, columns_max_;
  size_t pieces_max_ = 0;  // of a whole context

  // The batch of the current run.
  std::span<const Row> rows_;
  std::span<const int> outputs_;
  std::vector<Run> runs_;
  bool private_ = false;
  bool panel_ = false;
  Mode mode_ = Mode::kAuto;
  size_t head_first_ = 0, head_count_ = 0;

  // Shared buffers, [rows_max, ...].
  ActivationBuffer shared_activations_;
  ActivationBuffer ffn_activations_;  // of feed_forward_panels() alone: its padding stays zero
  os::LazyArray<float> stream_, plain_, query_, key_, value_, attended_, branch_, gate_, up_, hidden_;
  os::LazyArray<float> rope_;  // [rows_max, 2 (global, local), 2 (c, s of kernels::Table::rotate), rope_dim]
  std::vector<double> frequencies_, frequencies_local_;  // [rope_dim / 2] radians per position
  os::LazyArray<float> logits_;                          // [outputs_max, vocab]
  os::LazyArray<float> partials_;                        // [rows_max, heads, pieces_max_, partial_floats]
  std::vector<int> tap_blocks_;
  os::LazyArray<float> tapped_;  // [rows_max, tapped blocks, dim]
  std::vector<uint8_t> single_;  // [rows_max] rows of their own run, not tiled
  std::vector<std::unique_ptr<Local>> locals_;
};

}  // namespace

std::unique_ptr<Forward> Forward::create(const Config& config, const Weights& weights,
                                         const kernels::Table& table, os::Team& team, int rows_max,
                                         int outputs_max, int context_tokens) {
  return std::make_unique<ForwardImpl>(config, weights, table, team, rows_max, outputs_max, context_tokens);
}

}  // namespace hedge::model
