// SHA-256 over OpenSSL's EVP.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace hedge::cli {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const char> bytes);
  // Lower-case hex of everything so far. The object starts anew.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of a whole file, read in pieces. kCancelled when interrupted.
Result<std::string> sha256_of_file(const std::string& path);

}  // namespace hedge::cli
