// For tests: a second forward pass, written as the papers say it: one token at a time, in double precision,
// over the dequantised tensors of the file, with the shape from the test's own description. It shares nothing
// with forward.cc but the scalar dequantisers. Keys and values are kept in half precision, as the KV cache
// stores them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "model/tiny_model.h"
#include "quant/type.h"

namespace hedge::model {

class ReferenceForward {
 public:
  using Vec = std::vector<double>;

  ReferenceForward(const gguf::File& file, const TinySpec& spec)
      : spec_(spec), keys_(static_cast<size_t>(spec.layers)), values_(keys_.size()) {
    for (const gguf::Tensor& tensor : file.tensors()) {
      Stored stored{tensor.columns(), {}};
      std::vector<float> values(tensor.columns() * tensor.rows());
      quant::info(tensor.type).dequantize(tensor.data, values.data(), values.size());
      stored.values.assign(values.begin(), values.end());
      tensors_.emplace(std::string(tensor.name), std::move(stored));
    }
  }

  // The next token at the next position; its logits.
  Vec step(int32_t token) {
    const Stored& embedding = tensors_.at("token_embd.weight");
    const size_t dim = embedding.columns;
    Vec x(embedding.values.begin() + static_cast<long>(static_cast<size_t>(token) * dim),
          embedding.values.begin() + static_cast<long>((static_cast<size_t>(token) + 1) * dim));
    if (spec_.gemma()) {
      for (double& v : x) v *= std::sqrt(static_cast<double>(spec_.dim));
    }
    for (int i = 0; i < spec_.layers; ++i) {
      const std::string p = "blk." + std::to_string(i) + ".";
      Vec branch = multiply(p + "attn_output.weight", attention(i, norm(x, p + "attn_norm.weight")));
      if (spec_.gemma()) branch = norm(branch, p + "post_attention_norm.weight");
      add(x, branch);
      branch = feed_forward(p, norm(x, p + "ffn_norm.weight"));
      if (spec_.gemma()) branch = norm(branch, p + "post_ffw_norm.weight");
      add(x, branch);
    }
    ++position_;
    const bool tied = tensors_.count("output.weight") == 0;
    return multiply(tied ? "token_embd.weight" : "output.weight", norm(x, "output_norm.weight"));
  }

 private:
  struct Stored {
    size_t columns;
    Vec values;
  };

  static void add(Vec& x, const Vec& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  Vec norm(const Vec& x, const std::string& name) const {
    const Vec& weight = tensors_.at(name).values;
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + spec_.eps);
    Vec out(x.size());
    for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
    return out;
  }

  Vec multiply(const std::string& name, const Vec& x) const {
    const Stored& w = tensors_.at(name);
    Vec out(w.values.size() / w.columns);
    for (size_t r = 0; r < out.size(); ++r) {
      for (size_t c = 0; c < w.columns; ++c) out[r] += w.values[r * w.columns + c] * x[c];
    }
    return out;
  }

  static double to_half(double value) {
    const float wide = static_cast<float>(value);
    uint16_t half;
    float back;
    quant::info(quant::Type::kF16).quantize(&wide, &half, 1);
    quant::info(quant::Type::kF16).dequantize(&half, &back, 1);
    return back;
  }

  // The vector's head `h`: normed (Gemma), then rotated by the position.
  Vec rotated(const Vec& all, int h, int layer, const std::string& norm_name) const {
    const long n = spec_.head_dim;
    Vec head(all.begin() + h * n, all.begin() + (h + 1) * n);
    if (spec_.gemma()) head = norm(head, norm_name);
    const double base = spec_.local(layer) ? spec_.rope_base_local : spec_.rope_base;
    Vec out(head.size());
    for (size_t i = 0; i < head.size() / 2; ++i) {
      double angle = position_ * std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(n));
      if (!spec_.local(layer)) {
        angle /= spec_.rope_linear;
        if (!spec_.rope_factors.empty()) angle /= spec_.rope_factors[i];
      }
      const size_t a = spec_.gemma() ? i : 2 * i;
      const size_t b = spec_.gemma() ? i + head.size() / 2 : 2 * i + 1;
      out[a] = head[a] * std::cos(angle) - head[b] * std::sin(angle);
      out[b] = head[a] * std::sin(angle) + head[b] * std::cos(angle);
    }
    return out;
  }

  Vec attention(int layer, const Vec& x) {
    const std::string p = "blk." + std::to_string(layer) + ".";
    const Vec q = multiply(p + "attn_q.weight", x);
    const Vec k = multiply(p + "attn_k.weight", x);
    Vec v = multiply(p + "attn_v.weight", x);
    Vec k_row;
    for (int h = 0; h < spec_.kv_heads; ++h) {
      const Vec head = rotated(k, h, layer, p + "attn_k_norm.weight");
      k_row.insert(k_row.end(), head.begin(), head.end());
    }
    for (double& value : k_row) value = to_half(value);
    for (double& value : v) value = to_half(value);
    std::vector<Vec>& keys = keys_[static_cast<size_t>(layer)];
    std::vector<Vec>& values = values_[static_cast<size_t>(layer)];
    keys.push_back(k_row);
    values.push_back(v);
    const size_t n = static_cast<size_t>(spec_.head_dim);
    Vec out(static_cast<size_t>(spec_.heads) * n);
    for (int h = 0; h < spec_.heads; ++h) {
      const Vec query = rotated(q, h, layer, p + "attn_q_norm.weight");
      const size_t kv = static_cast<size_t>(h / (spec_.heads / spec_.kv_heads)) * n;
      // A token of a local layer sees `window` positions, its own included.
      const int first = spec_.local(layer) ? std::max(0, position_ - spec_.window + 1) : 0;
      Vec weights;
      double total = 0;
      for (int past = first; past <= position_; ++past) {
        double score = 0;
        for (size_t i = 0; i < n; ++i) score += query[i] * keys[static_cast<size_t>(past)][kv + i];
        weights.push_back(std::exp(score / std::sqrt(static_cast<double>(n))));
        total += weights.back();
      }
      for (int past = first; past <= position_; ++past) {
        for (size_t i = 0; i < n; ++i) {
          out[static_cast<size_t>(h) * n + i] +=
              weights[static_cast<size_t>(past - first)] / total * values[static_cast<size_t>(past)][kv + i];
        }
      }
    }
    return out;
  }

  Vec feed_forward(const std::string& p, const Vec& x) const {
    Vec gate = multiply(p + "ffn_gate.weight", x);
    const Vec up = multiply(p + "ffn_up.weight", x);
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i];
      const double silu = g / (1 + std::exp(-g));
      const double gelu = 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
      gate[i] = (spec_.gemma() ? gelu : silu) * up[i];
    }
    return multiply(p + "ffn_down.weight", gate);
  }

  const TinySpec spec_;
  std::map<std::string, Stored> tensors_;
  std::vector<std::vector<Vec>> keys_, values_;  // [layer][position]
  int position_ = 0;
};

}  // namespace hedge::model
