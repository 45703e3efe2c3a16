// What the file does not say about special tokens and llama.cpp knows by name.
#pragma once

#include "base/result.h"
#include "gguf/file.h"
#include "text/vocab.h"
#include "text/vocab_split.h"

namespace hedge::text {

Result<SpecialSplitter::StripRules> strip_rules(const gguf::File& file, const Vocab& vocab);

}  // namespace hedge::text
