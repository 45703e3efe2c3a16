#include "privacy/augment.h"

#include <algorithm>

#include "base/lines.h"
#include "base/utf8.h"
#include "privacy/fold.h"

namespace hedge::privacy {
namespace {

constexpr size_t kLineMax = 1024;

// In lower or upper case, Latin letters with their accents, Greek and Cyrillic; what is longer or shorter
// then stays.
std::string change_case(std::string_view text, bool upper) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    char32_t c = utf8_next(text, at);
    const auto between = [&c](char32_t a, char32_t b) { return c >= a && c <= b; };
    if (upper) {
      if (between('a', 'z') || (between(0xe0, 0xfe) && c != 0xf7) || between(0x3b1, 0x3c9) ||
          between(0x430, 0x44f)) {
        c -= c == 0x3c2 ? 31 : 32;
      } else if (between(0x100, 0x137) || between(0x14a, 0x177)) {
        c &= ~char32_t{1};
      } else if (between(0x139, 0x148) || between(0x179, 0x17e)) {
        c = c % 2 == 0 ? c - 1 : c;
      }
    } else {
      if (between('A', 'Z') || (between(0xc0, 0xde) && c != 0xd7) || between(0x391, 0x3a9) ||
          between(0x410, 0x42f)) {
        c += 32;
      } else if (between(0x100, 0x137) || between(0x14a, 0x177)) {
        c |= 1;
      } else if (between(0x139, 0x148) || between(0x179, 0x17e)) {
        c = c % 2 == 1 ? c + 1 : c;
      }
    }
    utf8_append(out, c);
  }
  return out;
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_digit(c) || c == ' ' || c == '-'; });
}

constexpr std::string_view kNationalities[] = {
    "American",    "British",      "English",       "Scottish",   "Welsh",       "Irish",
    "French",      "German",       "Italian",       "Spanish",    "Portuguese",  "Dutch",
    "Belgian",     "Swiss",        "Austrian",      "Polish",     "Czech",       "Slovak",
    "Hungarian",   "Romanian",     "Bulgarian",     "Greek",      "Turkish",     "Russian",
    "Ukrainian",   "Belarusian",   "Lithuanian",    "Latvian",    "Estonian",    "Finnish",
    "Swedish",     "Norwegian",    "Danish",        "Icelandic",  "Serbian",     "Croatian",
    "Slovenian",   "Bosnian",      "Albanian",      "Macedonian", "Montenegrin", "Maltese",
    "Cypriot",     "Canadian",     "Mexican",       "Brazilian",  "Argentinian", "Chilean",
    "Peruvian",    "Colombian",    "Venezuelan",    "Bolivian",   "Ecuadorian",  "Uruguayan",
    "Paraguayan",  "Cuban",        "Jamaican",      "Haitian",    "Australian",  "New Zealander",
    "Japanese",    "Chinese",      "Korean",        "Vietnamese", "Thai",        "Indonesian",
    "Malaysian",   "Filipino",     "Indian",        "Pakistani",  "Bangladeshi", "Nepalese",
    "Sri Lankan",  "Afghan",       "Iranian",       "Iraqi",      "Syrian",      "Lebanese",
    "Israeli",     "Jordanian",    "Saudi",         "Yemeni",     "Omani",       "Qatari",
    "Kuwaiti",     "Egyptian",     "Libyan",        "Tunisian",   "Algerian",    "Moroccan",
    "Sudanese",    "Ethiopian",    "Kenyan",        "Ugandan",    "Tanzanian",   "Nigerian",
    "Ghanaian",    "Senegalese",   "South African", "Zimbabwean", "Zambian",     "Angolan",
    "Mozambican",  "Namibian",     "Rwandan",       "Somali",     "Congolese",   "Cameroonian",
    "Mongolian",   "Kazakh",       "Uzbek",         "Georgian",   "Armenian",    "Azerbaijani",
    "Cambodian",   "Laotian",      "Burmese",       "Fijian",     "Samoan",      "Tongan",
    "Dominican",   "Panamanian",   "Guatemalan",    "Honduran",   "Salvadoran",  "Nicaraguan",
    "Costa Rican", "Belizean",     "Guyanese",      "Surinamese", "Bruneian",    "Bhutanese",
    "Maldivian",   "Muslim",       "Christian",     "Catholic",   "Protestant",  "Jewish",
    "Hindu",       "Buddhist",     "Sikh",          "Sunni",      "Shia",        "Orthodox",
    "Mormon",      "Baptist",      "Methodist",     "Lutheran",   "Republican",  "Democrat",
    "Socialist",   "Conservative", "Liberal",       "Communist",  "Arab",        "Kurdish",
    "Tibetan",     "Hispanic",     "Latino",        "Asian",      "African",     "European",
    "Caucasian",   "Basque",       "Catalan",       "Greenlandic"};

constexpr std::string_view kCompanies[] = {"Google",
                                           "Apple",
                                           "Amazon",
                                           "Facebook",
                                           "Netflix",
                                           "Tesla",
                                           "Intel",
                                           "IBM",
                                           "Oracle",
                                           "Cisco Systems",
                                           "Siemens",
                                           "Bosch",
                                           "Volkswagen",
                                           "BMW",
                                           "Toyota",
                                           "Honda",
                                           "Sony",
                                           "Samsung Electronics",
                                           "Panasonic",
                                           "Philips",
                                           "Nokia",
                                           "Ericsson",
                                           "Vodafone",
                                           "Orange",
                                           "Telefonica",
                                           "Santander",
                                           "Barclays",
                                           "HSBC",
                                           "Deutsche Bank",
                                           "Credit Suisse",
                                           "UBS",
                                           "Goldman Sachs",
                                           "JPMorgan Chase",
                                           "Bank of America",
                                           "Wells Fargo",
                                           "American Express",
                                           "Visa",
                                           "Mastercard",
                                           "PayPal",
                                           "Pfizer",
                                           "Novartis",
                                           "Roche",
                                           "Bayer",
                                           "Nestle",
                                           "Unilever",
                                           "Procter & Gamble",
                                           "Coca-Cola",
                                           "PepsiCo",
                                           "McDonald's",
                                           "Starbucks",
                                           "Walmart",
                                           "Carrefour",
                                           "Tesco",
                                           "Ikea",
                                           "Nike",
                                           "Adidas",
                                           "Boeing",
                                           "Airbus",
                                           "Lufthansa",
                                           "British Airways",
                                           "Air France",
                                           "Delta Air Lines",
                                           "General Motors",
                                           "General Electric",
                                           "Ford",
                                           "Chevron",
                                           "Shell",
                                           "BP",
                                           "Total",
                                           "ExxonMobil",
                                           "Red Cross",
                                           "UNICEF",
                                           "UNESCO",
                                           "World Bank",
                                           "Greenpeace",
                                           "Amnesty International",
                                           "Oxford University Press",
                                           "BBC",
                                           "CNN",
                                           "Reuters",
                                           "The New York Times",
                                           "The Guardian",
                                           "Warner Bros.",
                                           "Universal Music",
                                           "Columbia Records",
                                           "Harvard University",
                                           "Stanford University",
                                           "Spotify",
                                           "Airbnb",
                                           "Dropbox",
                                           "Slack",
                                           "Zoom",
                                           "Twitter",
                                           "LinkedIn",
                                           "Adobe",
                                           "SAP",
                                           "Accenture",
                                           "McKinsey & Company",
                                           "KPMG",
                                           "Ernst & Young",
                                           "FedEx",
                                           "UPS",
                                           "DHL",
                                           "Maersk",
                                           "Caterpillar",
                                           "John Deere",
                                           "3M",
                                           "Honeywell",
                                           "Lockheed Martin",
                                           "NASA",
                                           "FBI",
                                           "WHO",
                                           "European Union",
                                           "FIFA"};

constexpr std::string_view kStems[] = {
    "data",  "clear",  "open",  "smart", "health", "credit", "cloud",  "green", "blue", "solar", "street",
    "civic", "info",   "trans", "inter", "omni",   "geo",    "bio",    "med",   "fin",  "tele",  "net",
    "rapid", "bright", "north", "west",  "red",    "gold",   "silver", "quick", "true", "first", "next",
    "deep",  "flex",   "agri",  "auto",  "aqua",   "astro",  "macro",  "micro", "vita", "nova",  "terra",
    "luma",  "zen",    "opti",  "axi",   "veri",   "sym",    "pre",    "uni",   "val",  "cor",   "lex"};
constexpr std::string_view kEndings[] = {
    "ware", "soft", "metrics", "logic", "works", "sys",  "scape", "stat", "vision", "point", "watch",
    "link", "hub",  "gen",     "tech",  "wave",  "base", "path",  "dyne", "tron",   "ly",    "ify",
    "io",   "ics",  "ia",      "is",    "on",    "us",   "ex",    "era",  "ent",    "al",    "um",
    "cast", "trax", "desk",    "forge", "grid",  "loop", "mind",  "nest", "pulse",  "sense"};
constexpr std::string_view kFields[] = {
    "Systems",         "Technologies", "Solutions",    "Software",   "Analytics",      "Consulting",
    "Partners",        "Group",        "Holdings",     "Capital",    "Finance",        "Insurance",
    "Health",          "Networks",     "Media",        "Labs",       "Research",       "Energy",
    "Power",           "Foods",        "Logistics",    "Data",       "Services",       "Associates",
    "Financial",       "Bank",         "Studios",      "Records",    "Motors",         "Airlines",
    "Industries",      "Corporation",  "Institute",    "University", "Foundation",     "Society",
    "Exchange",        "Ventures",     "Markets",      "Reports",    "Ratings Agency", "Security",
    "Pharmaceuticals", "Engineering",  "Construction", "Properties"};
constexpr std::string_view kSuffixes[] = {"Inc",  "Inc.", "LLC",   "Ltd",          "Ltd.",     "PLC",
                                          "GmbH", "Corp", "Corp.", "Incorporated", "and Sons", "Group",
                                          "Co.",  "S.A.", "AG",    "Limited"};
constexpr std::string_view kJobs[] = {"nurse",
                                      "doctor",
                                      "teacher",
                                      "engineer",
                                      "lawyer",
                                      "singer",
                                      "actor",
                                      "actress",
                                      "soldier",
                                      "farmer",
                                      "driver",
                                      "plumber",
                                      "carpenter",
                                      "electrician",
                                      "journalist",
                                      "writer",
                                      "editor",
                                      "pilot",
                                      "chef",
                                      "waiter",
                                      "waitress",
                                      "cashier",
                                      "manager",
                                      "director",
                                      "professor",
                                      "student",
                                      "scientist",
                                      "economist",
                                      "architect",
                                      "painter",
                                      "photographer",
                                      "musician",
                                      "dancer",
                                      "librarian",
                                      "pharmacist",
                                      "dentist",
                                      "surgeon",
                                      "veterinarian",
                                      "judge",
                                      "police officer",
                                      "firefighter",
                                      "security guard",
                                      "flight attendant",
                                      "truck driver",
                                      "bus driver",
                                      "delivery driver",
                                      "sales manager",
                                      "shop assistant",
                                      "software engineer",
                                      "data scientist",
                                      "web developer",
                                      "project manager",
                                      "product manager",
                                      "human resources manager",
                                      "financial analyst",
                                      "bank clerk",
                                      "accountant",
                                      "civil engineer",
                                      "mechanical engineer",
                                      "electrical engineer",
                                      "laboratory technician",
                                      "dental hygienist",
                                      "medical assistant",
                                      "radiologic technician",
                                      "physical therapist",
                                      "social worker",
                                      "kindergarten teacher",
                                      "machine operator",
                                      "assembly line worker",
                                      "forklift operator",
                                      "welding machine operator",
                                      "janitor",
                                      "maid",
                                      "hairdresser",
                                      "barber",
                                      "tailor",
                                      "baker",
                                      "butcher",
                                      "gardener",
                                      "landscaper",
                                      "construction worker",
                                      "roofer",
                                      "payroll clerk",
                                      "file clerk",
                                      "receptionist",
                                      "secretary",
                                      "administrative assistant",
                                      "postal clerk",
                                      "network administrator",
                                      "database administrator",
                                      "training specialist",
                                      "insurance agent",
                                      "real estate agent",
                                      "travel agent",
                                      "court reporter",
                                      "paralegal",
                                      "translator",
                                      "interpreter",
                                      "biologist",
                                      "chemist",
                                      "physicist",
                                      "geologist",
                                      "statistician",
                                      "zoologist",
                                      "technical support specialist",
                                      "hotel clerk",
                                      "museum curator",
                                      "film director",
                                      "sound engineering technician",
                                      "radio announcer",
                                      "fashion designer",
                                      "interior designer"};
constexpr std::string_view kUnits[] = {"Apt.", "Suite", "Apt", "Unit", "Flat", "Apt #", "Room", "Floor"};
constexpr std::string_view kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                        "July",    "August",   "September", "October", "November", "December",
                                        "Jan",     "Feb",      "Mar",       "Apr",     "Jun",      "Jul",
                                        "Aug",     "Sep",      "Oct",       "Nov",     "Dec"};
constexpr std::string_view kDays[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                      "Friday", "Saturday", "Sunday"};

}  // namespace

std::span<const std::string_view> nationalities() { return kNationalities; }

Result<WordLists> WordLists::parse(std::string_view text) {
  WordLists lists;
  HEDGE_TRY(each_line(text, [&](std::string_view line, size_t line_number) -> Status {
    const size_t tab = line.find('\t');
    const size_t tab2 = tab == std::string_view::npos ? tab : line.find('\t', tab + 1);
    if (tab2 == std::string_view::npos || line.size() > kLineMax || !utf8_valid(line)) {
      return make_error(ErrorCode::kCorrupt,
                        "line " + std::to_string(line_number) +
                            ": expected KIND, LOCALE and VALUE in UTF-8, separated by tabs");
    }
    lists.kinds[std::string(line.substr(0, tab))].push_back(
        {std::string(line.substr(tab + 1, tab2 - tab - 1)), std::string(line.substr(tab2 + 1))});
    return {};
  }));
  for (const char* kind :
       {"first", "last", "city", "country", "street", "company", "job", "region", "abbreviation", "word"}) {
    if (lists.kinds.find(kind) == lists.kinds.end())
      return make_error(ErrorCode::kCorrupt,
                        std::string("expected values of the kind '") + kind + "', got none");
  }
  return lists;
}

Augmenter::Augmenter(const WordLists& lists, const std::vector<Example>& pool, uint64_t seed)
    : lists_(&lists), rng_(seed) {
  for (const Example& example : pool) {
    for (const Mark& mark : example.marks)
      pool_[mark.type].push_back(example.text.substr(mark.begin, mark.end - mark.begin));
  }
  for (const auto& [kind, entries] : lists.kinds) {
    for (const WordLists::Entry& entry : entries) by_locale_[kind][entry.locale].push_back(&entry.value);
  }
}

const std::string& Augmenter::pick(std::string_view kind) {
  const auto& entries = lists_->kinds.find(kind)->second;
  // Each country as likely as any, so that one with long lists does not drown the others.
  const auto& locales = by_locale_.find(kind)->second;
  if (chance(0.7))
    return *[&] {
      auto locale = locales.begin();
      std::advance(locale, static_cast<ptrdiff_t>(rng_.below(locales.size())));
      return locale->second[rng_.below(locale->second.size())];
    }();
  return entries[rng_.below(entries.size())].value;
}

const std::string& Augmenter::pick(std::string_view kind, std::string_view locale) {
  const auto& locales = by_locale_.find(kind)->second;
  const auto found = locales.find(locale);
  return found == locales.end() ? pick(kind) : *found->second[rng_.below(found->second.size())];
}

std::string Augmenter::digits(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) {
    if (c == '#') {
      out.push_back(static_cast<char>('0' + rng_.below(10)));
    } else if (c == '%') {
      out.push_back(static_cast<char>('1' + rng_.below(9)));
    } else if (c == '@') {
      out.push_back(static_cast<char>('A' + rng_.below(26)));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string Augmenter::person() {
  const auto& firsts = by_locale_.find("first")->second;
  auto locale = firsts.begin();
  std::advance(locale, static_cast<ptrdiff_t>(rng_.below(firsts.size())));
  const std::string first = *locale->second[rng_.below(locale->second.size())];
  const std::string last = pick("last", locale->first);
  const double u = rng_.uniform();
  if (u < 0.25) return first;
  if (u < 0.40) return last;
  if (u < 0.80) return first + " " + last;
  if (u < 0.88) return first + digits(" @ ") + last;
  if (u < 0.95) return first + digits(" @. ") + last;
  if (u < 0.97) return first + " " + pick("first", locale->first) + " " + last;
  return first + " " + last + "-" + pick("last", locale->first);
}

std::string Augmenter::place(std::string_view old) {
  if (old.size() == 2 && is_upper(old[0])) return chance(0.2) ? "nan" : pick("abbreviation");
  if (old == "nan") return chance(0.5) ? "nan" : pick("abbreviation");
  const double u = rng_.uniform();
  if (u < 0.35) return pick("country", "en");
  if (u < 0.42) return pick("region");
  const std::string& city = pick("city");
  return chance(0.25) ? change_case(city, true) : city;
}

std::string Augmenter::street() {
  std::string name;
  const double u = rng_.uniform();
  if (u < 0.3) {
    name = pick(chance(0.5) ? "last" : "first") + " " +
           std::string(one_of({"Street",   "St",    "Avenue", "Ave",   "Road",      "Rd",     "Lane",
                               "Drive",    "Court", "Way",    "Place", "Boulevard", "Square", "Terrace",
                               "Crescent", "Close", "Hill",   "Park",  "Row",       "Walk"}));
  } else if (u < 0.45) {
    name = std::string(one_of({"Rue", "Rua", "Calle", "Via", "Avenida", "Avenue", "ul.", "Rue de la",
                               "Calle de", "Rua da", "Viale", "Piazza", "Boulevard", "Plaza", "Strada",
                               "ulica", "Travessa", "C/"})) +
           " " + pick(chance(0.5) ? "last" : "city");
  } else if (u < 0.65) {
    name = pick(chance(0.5) ? "last" : "city");
    const size_t end = utf8_complete_prefix(std::string_view(name).substr(0, 12));
    name = name.substr(0, name.find(' ') == std::string::npos ? end : std::min(end, name.find(' '))) +
           std::string(one_of({"strasse",  "straße", "gatan",  "gata",   "vej",   "veien", "vegen", "gasse",
                               "weg",      "laan",   "straat", "tie",    "katu",  "vägen", "gade",  "plein",
                               "platz",    "katu",   "allee",  "stræti", " utca", " u.",   " út",   " köz",
                               " náměstí", " tér",   " tee",   " cesta", " ulica"}));
  } else {
    name = pick("street");
  }
  if (chance(0.15)) return name;
  return chance(0.5) ? name + digits(one_of({" %", " %#", " %##", " %###"}))
                     : digits(one_of({"%", "%#", "%##", "%###", "%####"})) + " " + name;
}

std::string Augmenter::address(std::string_view old) {
  const std::string_view number = one_of({"###", "####", "#####", "%###", "%####"});
  const auto unit = [this] {
    return std::string(kUnits[rng_.below(chance(0.8) ? 2 : std::size(kUnits))]) + digits(" ###");
  };
  if (!old.empty()) {
    if (all_digits(old)) return chance(0.1) ? zip() : digits(number);
    for (const std::string_view known : kUnits) {
      if (old.substr(0, known.size()) == known && old.size() < 12) return unit();
    }
    if (old.find('\n') == std::string_view::npos && std::count(old.begin(), old.end(), ' ') < 5 &&
        old.find(',') == std::string_view::npos)
      return street();
  } else if (chance(0.4)) {
    return street();
  }
  if (chance(0.1)) {
    const std::string_view code = one_of({"AA", "AE", "AP"});
    if (chance(0.4)) return digits("PSC ####, Box ####\nAPO ") + std::string(code) + digits(" #####");
    if (chance(0.5)) return digits("Unit #### Box ####\nDPO ") + std::string(code) + digits(" #####");
    return std::string(one_of({"USNS ", "USNV ", "USS "})) + pick("last") + "\nFPO " + std::string(code) +
           digits(" #####");
  }
  if (chance(0.06)) return "the corner of " + street() + " and " + street();
  if (chance(0.04))
    return std::string(one_of({"P.O. Box ", "PO Box ", "Postbox ", "Postfach "})) + digits("%##");
  std::string out = chance(0.6) ? digits(number) + " " + street() : street();
  if (chance(0.6)) out += (chance(0.3) ? "\n " : chance(0.3) ? ", " : " ") + unit();
  const std::string city = place({});
  const std::string country = pick("country", "en");
  const std::string state = chance(0.2) ? "nan" : pick("abbreviation");
  const double u = rng_.uniform();
  if (u < 0.2)
    out += "\n" + city + "\n, " + state + "\n " + (chance(0.5) ? country + " " : "") + zip();
  else if (u < 0.35)
    out += "\n " + city + "\n " + country + (chance(0.7) ? " " + digits("#####") : "");
  else if (u < 0.5)
    out += "\n" + city + ", " + state + digits(" #####");
  else if (u < 0.7)
    out += ", " + city + ", " + country + (chance(0.5) ? " " + zip() : "");
  else if (u < 0.85)
    out += " " + city + " " + (chance(0.5) ? country : state);
  else if (u < 0.93)
    out += ", " + zip() + " " + city;
  else
    out += ", " + city + ", " + state + " " + zip();
  return out;
}

std::string Augmenter::company() {
  const double u = rng_.uniform();
  if (u < 0.25) return pick("company");
  if (u < 0.35) return std::string(kCompanies[rng_.below(std::size(kCompanies))]);
  if (u < 0.43) {
    return pick("last", "en_US") + (chance(0.5)
                                        ? ", " + pick("last", "en_US") + " and " + pick("last", "en_US")
                                        : "-" + pick("last", "en_US"));
  }
  std::string name;
  if (chance(0.7)) {
    name = std::string(kStems[rng_.below(std::size(kStems))]) +
           std::string(chance(0.7) ? kEndings[rng_.below(std::size(kEndings))]
                                   : kStems[rng_.below(std::size(kStems))]);
  } else {
    name = pick(chance(0.5) ? "last" : "word");
  }
  if (!name.empty() && is_lower(name[0])) name[0] = to_upper(name[0]);
  if (chance(0.12)) {
    std::string second = pick("word");
    if (is_lower(second[0])) second[0] = to_upper(second[0]);
    name += " " + second;
  }
  if (chance(0.4)) name += " " + std::string(kFields[rng_.below(std::size(kFields))]);
  if (chance(0.25)) name += " " + std::string(kSuffixes[rng_.below(std::size(kSuffixes))]);
  if (chance(0.04)) name = "The " + name;
  return name;
}

std::string Augmenter::title(std::string_view old) {
  const bool salutation =
      old.empty() ? chance(0.3) : old.back() == '.' || old == "Miss" || old == "Mr" || old == "Dr";
  if (salutation)
    return std::string(
        one_of({"Mr.", "Mrs.", "Ms.", "Miss", "Dr.", "Prof.", "Mr", "Mrs", "Ms", "Dr", "Sir"}));
  if (chance(0.5)) {
    std::string job(kJobs[rng_.below(std::size(kJobs))]);
    if (chance(0.6)) job[0] = to_upper(job[0]);
    return job;
  }
  return pick("job");
}

std::string Augmenter::date(std::string_view old) {
  const auto number = [this](uint64_t low, uint64_t high) {
    return std::to_string(low + rng_.below(high - low + 1));
  };
  const auto two = [this](uint64_t low, uint64_t high) {
    const uint64_t n = low + rng_.below(high - low + 1);
    return (n < 10 ? "0" : "") + std::to_string(n);
  };
  const bool year = all_digits(old) && old.size() == 4;
  if (year) return number(1930, 2025);
  const auto month = [this] { return std::string(kMonths[rng_.below(std::size(kMonths))]); };
  const double u = rng_.uniform();
  if (u < 0.2) return number(1, 12) + "/" + number(1, 28) + "/" + number(1940, 2024);
  if (u < 0.35)
    return number(1940, 2024) + "-" + two(1, 12) + "-" + two(1, 28) + " " + two(0, 23) + ":" + two(0, 59) +
           ":" + two(0, 59);
  if (u < 0.42) return number(1940, 2024) + "-" + two(1, 12) + "-" + two(1, 28);
  if (u < 0.52) return std::string(kDays[rng_.below(std::size(kDays))]);
  if (u < 0.60) return month() + " " + number(1, 28) + ", " + number(1940, 2024);
  if (u < 0.66) return number(1, 28) + " " + month() + " " + number(1940, 2024);
  if (u < 0.72) return month() + " " + number(1, 28);
  if (u < 0.77) return two(1, 28) + "." + two(1, 12) + "." + number(1940, 2024);
  if (u < 0.82) return month() + " " + number(1940, 2024);
  if (u < 0.86) return number(1, 28) + "/" + number(1, 12) + "/" + two(0, 99);
  return number(1930, 2025);
}

std::string Augmenter::zip() {
  return digits(one_of({"#####", "#####", "####", "####", "###", "### ##", "##-###", "####-###", "#####-###",
                        "@#@ #@#", "#### @@", "@@# #@@", "#####-####", "@# #@@"}));
}

std::string Augmenter::phone() {
  return digits(
      one_of({"### ####",      "#### ####",       "### ### ###",    "## ### ###",      "0### ### ###",
              "0## ### ## ##", "0### ## ## ##",   "(##) ### ####",  "(##) ###-###",    "##-##-##-##",
              "## ## ## ##",   "### ## ###",      "%#########",     "0### #######",    "0####-#######",
              "## ######",     "+## ### ### ###", "(###) ###-####", "###-###-####",    "%## %## ####x###",
              "## ### ## ##",  "(##) ####-####",  "07### ######",   "+1-###-###-####", "###.###.####",
              "%### ####"}));
}

std::string Augmenter::card() {
  std::string number = digits(
      one_of({"4##############", "51#############", "34############", "4###########", "6011###########"}));
  for (char check = '0';; ++check) {
    int sum = 0;
    const std::string whole = number + check;
    for (size_t i = 0; i < whole.size(); ++i) {
      int digit = whole[whole.size() - 1 - i] - '0';
      if (i % 2 == 1) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
      sum += digit;
    }
    if (sum % 10 == 0) return whole;
  }
}

std::string Augmenter::iban() {
  const std::string account = digits("####") + digits("############");
  // Germany: 18 digits; the check digits make the whole 1 modulo 97.
  const std::string body = account + digits("##");
  unsigned remainder = 0;
  for (const char c : body + "131400") remainder = (remainder * 10 + static_cast<unsigned>(c - '0')) % 97;
  const unsigned check = 98 - remainder;
  return std::string("DE") + (check < 10 ? "0" : "") + std::to_string(check) + body;
}

std::string Augmenter::url() {
  std::string host = std::string(kStems[rng_.below(std::size(kStems))]) +
                     std::string(kEndings[rng_.below(std::size(kEndings))]);
  return std::string(one_of({"https://www.", "http://", "https://", "www."})) + host +
         std::string(one_of({".com", ".org", ".de", ".se", ".co.uk"})) +
         std::string(one_of({"/", "", "/about", "/p/1"}));
}

std::string Augmenter::email() {
  return std::string(kStems[rng_.below(std::size(kStems))]) + digits("##") + "@" +
         std::string(kStems[rng_.below(std::size(kStems))]) + std::string(one_of({".com", ".net", ".fr"}));
}

std::string Augmenter::value(const std::string& type, std::string_view old) {
  // Values of the texts themselves keep their own distribution in.
  const auto known = pool_.find(type);
  if (known != pool_.end() && chance(0.35) && type != "STREET_ADDRESS" && type != "TITLE" &&
      type != "DATE_TIME" && type != "GPE")
    return known->second[rng_.below(known->second.size())];
  if (type == "PERSON") return person();
  if (type == "STREET_ADDRESS") return address(old);
  if (type == "GPE") return place(old);
  if (type == "ORGANIZATION") return company();
  if (type == "TITLE") return title(old);
  if (type == "AGE") return digits(one_of({"%", "%#", "%#", "%#", "%#", "10#"}));
  if (type == "DATE_TIME") return date(old);
  if (type == "ZIP_CODE") return zip();
  if (type == "PHONE_NUMBER") return phone();
  if (type == "CREDIT_CARD") return card();
  if (type == "IBAN_CODE") return iban();
  if (type == "DOMAIN_NAME") return url();
  if (type == "EMAIL_ADDRESS") return email();
  if (type == "IP_ADDRESS") return digits("%#.%#.%#.%#");
  if (type == "NUMBER")
    return digits(
        one_of({"%", "%", "%#", "%#", "%#", "%##", "%##", "%###", "%,###", "%.#", "%#.##", "%####"}));
  if (type == "US_SSN") return digits("%##-%#-%###");
  if (type == "US_DRIVER_LICENSE") return digits(one_of({"#######", "@#######", "@############"}));
  if (type == "NRP") {
    std::string word(kNationalities[rng_.below(std::size(kNationalities))]);
    if (chance(0.15)) word += 's';
    return chance(0.2) ? change_case(word, false) : word;
  }
  return std::string(old);
}

Example Augmenter::vary(const Example& example) {
  Example out;
  out.group = example.group;
  size_t at = 0;
  std::map<std::string, std::string> same;  // what stood twice stands twice
  for (const Mark& mark : example.marks) {
    out.text.append(example.text, at, mark.begin - at);
    const std::string old = example.text.substr(mark.begin, mark.end - mark.begin);
    auto [entry, fresh] = same.try_emplace(mark.type + "\t" + old);
    if (fresh) entry->second = value(mark.type, old);
    const size_t begin = out.text.size();
    out.text += entry->second;
    out.marks.push_back(Mark{mark.type, begin, out.text.size()});
    at = mark.end;
  }
  out.text.append(example.text, at);
  if (chance(0.08)) {
    const std::string lower = change_case(out.text, false);
    if (lower.size() == out.text.size()) out.text = lower;
  }
  return out;
}

Example Augmenter::fill(std::string_view text, int64_t group) {
  Example skeleton;
  skeleton.group = group;
  for (size_t at = 0; at < text.size();) {
    const size_t open = std::min(text.find("{{", at), text.size());
    skeleton.text.append(text, at, open - at);
    const size_t close = open == text.size() ? open : text.find("}}", open);
    if (close >= text.size()) break;
    const std::string_view slot = text.substr(open + 2, close - open - 2);
    const std::string type(slot.substr(0, slot.find(':')));
    const std::string filled =
        value(type, slot.find(':') == std::string_view::npos ? "" : slot.substr(slot.find(':') + 1));
    const size_t begin = skeleton.text.size();
    skeleton.text += filled;
    if (type != "NUMBER") skeleton.marks.push_back(Mark{type, begin, skeleton.text.size()});
    at = close + 2;
  }
  if (chance(0.08)) {
    const std::string lower = change_case(skeleton.text, false);
    if (lower.size() == skeleton.text.size()) skeleton.text = lower;
  }
  return skeleton;
}

}  // namespace hedge::privacy
