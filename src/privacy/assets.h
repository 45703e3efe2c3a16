// Files that travel inside the program.
#pragma once

#include <string_view>

namespace hedge::privacy {

std::string_view embedded_tagger();  // assets/tagger.bin

}  // namespace hedge::privacy
