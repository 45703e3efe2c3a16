#include "privacy/json_members.h"

#include <algorithm>

#include "privacy/fold.h"

namespace hedge::privacy {
namespace {

constexpr size_t kLabelBytesMax = 64;

// Members that hold a person and whose names the tagger has not learned as labels.
constexpr std::string_view kPeople[] = {
    "applicant", "assignee", "attendee", "attendees", "author",    "caller", "candidate", "client",
    "contact",   "customer", "employee", "first",     "firstname", "guest",  "last",      "lastname",
    "manager",   "member",   "owner",    "passenger", "patient",   "people", "person",    "recipient",
    "sender",    "student",  "surname",  "tenant",    "traveler",  "user",   "username",  "who"};

}  // namespace

// "customer_name", "customerName" and "customer-name" are "customer name".
void label_of(std::string_view name, std::string& label) {
  label.clear();
  if (name.size() > kLabelBytesMax) return;
  size_t word = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool starts = is_upper(name[i]) && i > 0 && is_lower(name[i - 1]);
    const bool splits = name[i] == '_' || name[i] == '-' || name[i] == ' ' || name[i] == '.';
    if ((starts || splits) && !label.empty()) {
      label += ' ';
      word = label.size();
    }
    if (!splits) label += to_lower(name[i]);
  }
  if (label.empty()) return;
  const std::string_view last = std::string_view(label).substr(word);
  if (std::find(std::begin(kPeople), std::end(kPeople), last) != std::end(kPeople)) label = "name";
  label[0] = to_upper(label[0]);
  label += ": ";
}

bool counts_behind(size_t label, const Span& span, std::string_view text, TypeSet types) {
  constexpr double kScoreMin = 0.75;
  if ((types & set_of(span.type)) == 0 || span.end <= label) return false;
  const bool is_all = label > 0 && span.begin <= label && span.end == text.size();
  constexpr TypeSet kPlain = set_of("DATE_TIME");  // its form says what it is
  return !is_all || (kTaggedOnly & ~kPlain & set_of(span.type)) == 0 || span.score >= kScoreMin;
}

TypeSet types_of(const JsonPiece& piece, std::string_view said, TypeSet types) {
  constexpr TypeSet kNames = set_of("PERSON") | set_of("STREET_ADDRESS") | set_of("GPE") |
                             set_of("ORGANIZATION") | set_of("TITLE") | set_of("NRP");
  if (piece.kind == JsonPiece::Kind::kNumber) return types & ~kNames;
  if (piece.kind == JsonPiece::Kind::kName && said.find(' ') == std::string_view::npos)
    return types & ~kTaggedOnly;
  return types;
}

}  // namespace hedge::privacy
