// Shared by the two files of the SECRET detector.
#pragma once

#include <string_view>
#include <vector>

#include "privacy/detector.h"

namespace hedge::privacy {

// Values after "password:", "api_key=", "Bearer " and the like (secret_assigned.cc).
void find_assigned(std::string_view s, std::vector<Find>& finds);

// Whether a value stands for one to be filled in, or is code that fetches one: "<your key>", "${TOKEN}",
// "None", "xxxx".
bool is_placeholder(std::string_view value);

// Shannon entropy of the token's own characters, in bits per character.
double bits_per_char(std::string_view token);
// Upper case, lower case and digits in the mixture that random base64 has and names in code have not.
bool looks_random(std::string_view token);

}  // namespace hedge::privacy
