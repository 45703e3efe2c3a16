// The strings of a JSON text, for those who look at what is said in it and need no parser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedge {

// Every string, names of members too, with its escapes resolved. Linear; any bytes may be given: of what is
// no JSON it gives what stands between quotation marks. A surrogate without its other half becomes U+FFFD.
std::vector<std::string> json_strings(std::string_view json);

}  // namespace hedge
