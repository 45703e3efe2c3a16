#include "privacy/mask.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/utf8.h"

namespace hedge::privacy {
namespace {

std::string masked(std::string_view text, PlaceholderTable& table) {
  Scanner scanner;
  return Masker(scanner, table).mask(text);
}

TEST(Mask, SameValueSamePlaceholder) {
  PlaceholderTable table;
  EXPECT_EQ(masked("mail a@example.com or b@example.com, a@example.com first", table),
            "mail <EMAIL_ADDRESS_1> or <EMAIL_ADDRESS_2>, <EMAIL_ADDRESS_1> first");
  EXPECT_EQ(masked("b@example.com", table), "<EMAIL_ADDRESS_2>");
  ASSERT_NE(table.value("<EMAIL_ADDRESS_1>"), nullptr);
  EXPECT_EQ(*table.value("<EMAIL_ADDRESS_1>"), "a@example.com");
}

TEST(Mask, ValuesLearntElsewhereAreMaskedEverywhere) {
  Scanner scanner;
  PlaceholderTable table;
  table.placeholder("PERSON", "Zqxwy");
  Masker masker(scanner, table, set_of("EMAIL_ADDRESS"));
  EXPECT_EQ(masker.mask("the zebra of Zqxwy, not Zqxwyz"), "the zebra of <PERSON_1>, not Zqxwyz");
}

TEST(Mask, TextThatLooksLikeAPlaceholder) {
  PlaceholderTable table;
  const std::string text = "write <EMAIL_ADDRESS_1> for a@example.com and <TEXT_1> <A_1";
  const std::string out = masked(text, table);
  EXPECT_EQ(out.find("a@example.com"), std::string::npos);
  EXPECT_EQ(unmask(out, table), text);
}

// Any UTF-8 comes back, whole and in pieces cut anywhere.
TEST(Mask, InverseForAnyText) {
  const std::string_view parts[] = {"<",
                                    ">",
                                    "<PERSON_1>",
                                    "<PERSON_",
                                    "1>",
                                    "_",
                                    "Jane Roe",
                                    " ",
                                    "a@example.com",
                                    "é",
                                    "4111 1111 1111 1111",
                                    "\n",
                                    "<TEXT_2>",
                                    "日本",
                                    "\u200b",
                                    "DE89370400440532013000",
                                    "x",
                                    "My name is ",
                                    "\\",
                                    "\""};
  Rng rng(20260101);
  Scanner scanner;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t n = rng.below(14); n > 0; --n) {
      if (rng.below(4) == 0) {
        utf8_append(text, static_cast<char32_t>(rng.below(2) == 0 ? rng.below(0x80) : rng.below(0xd800)));
      } else {
        text += parts[rng.below(std::size(parts))];
      }
    }
    PlaceholderTable table;
    Masker masker(scanner, table);
    const std::string out = masker.mask(text);
    ASSERT_EQ(unmask(out, table), text) << "round " << round;
    Unmasker unmasker(table);
    std::string back;
    for (size_t at = 0; at < out.size();) {
      const size_t step = 1 + rng.below(5);
      back += unmasker.push(std::string_view(out).substr(at, step));
      at += step;
    }
    ASSERT_EQ(back + unmasker.finish(), text) << "round " << round;
  }
}

TEST(Unmasker, PlaceholdersCutAnywhere) {
  PlaceholderTable table;
  table.placeholder("PERSON", "Jane \"J\" Roe");
  const std::string text = "Dear <PERSON_1>, <PERSON_2> <<PERSON_1>>";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (size_t cut2 = cut; cut2 <= text.size(); ++cut2) {
      Unmasker unmasker(table);
      std::string out = unmasker.push(text.substr(0, cut));
      out += unmasker.push(text.substr(cut, cut2 - cut));
      out += unmasker.push(text.substr(cut2));
      EXPECT_EQ(out + unmasker.finish(), "Dear Jane \"J\" Roe, <PERSON_2> <Jane \"J\" Roe>")
          << cut << " " << cut2;
    }
  }
  EXPECT_EQ(unmask(R"({"to":"<PERSON_1>"})", table, Escape::kJson), R"({"to":"Jane \"J\" Roe"})");
}

TEST(Unmasker, ArgumentsOfToolsHoweverTheyAreSpelled) {
  PlaceholderTable table;
  table.placeholder("PERSON", "Jane \"J\" Roe");
  EXPECT_EQ(unmask_json(R"({"to":"\u003cPERSON_1\u003e","n":1})", table), R"({"to":"Jane \"J\" Roe","n":1})");
  EXPECT_EQ(unmask_json(R"({"to":"<PERSON_1>","path":"a\/b"})", table),
            R"({"to":"Jane \"J\" Roe","path":"a\/b"})");
  EXPECT_EQ(unmask_json(R"({"to":"<PERSON_1>)", table), R"({"to":"Jane \"J\" Roe)") << "cut";
}

TEST(Mask, PartsOfNames) {
  PlaceholderTable table;
  table.placeholder("PERSON", "Dr. Anna M\u00fcller-L\u00fcdenscheidt");
  table.placeholder("ORGANIZATION", "Zyxwonk Consulting Limited");
  table.placeholder("PERSON", "Anna Bo");
  Scanner scanner;
  Masker masker(scanner, table, 0);
  const std::string text =
      "The M\u00dcLLER file of Anna, Bo and L\u00fcdenscheidt: Consulting a Doctor, Zyxwonk";
  const std::string out = masker.mask(text);
  EXPECT_EQ(
      out,
      "The <PERSON_1_1> file of <PERSON_1_2>, Bo and <PERSON_1_3>: Consulting a Doctor, <ORGANIZATION_1_1>");
  EXPECT_EQ(unmask(out, table), text);
  EXPECT_EQ(type_of("<PERSON_1_2>"), "PERSON");
  EXPECT_EQ(type_of("<STREET_ADDRESS_1>"), "STREET_ADDRESS");
}

TEST(Unmasker, HoldsBackOnlyWhatMayBecomeAPlaceholder) {
  PlaceholderTable table;
  table.placeholder("PERSON", "Jane");
  Unmasker unmasker(table);
  EXPECT_EQ(unmasker.push("a < b <P"), "a < b ");
  EXPECT_EQ(unmasker.push("ING"), "<PING");
  EXPECT_EQ(unmasker.push("<PERSON_1"), "");
  EXPECT_EQ(unmasker.finish(), "<PERSON_1");
}

TEST(PlaceholderTable, RefusesWhatIsNoMap) {
  PlaceholderTable table;
  EXPECT_FALSE(table.add("PERSON_1", "x").ok());
  EXPECT_FALSE(table.add("<person_1>", "x").ok());
  EXPECT_TRUE(table.add("<PERSON_1>", "x").ok());
  EXPECT_TRUE(table.add("<PERSON_1>", "x").ok());
  EXPECT_FALSE(table.add("<PERSON_1>", "y").ok());
  EXPECT_EQ(table.placeholder("PERSON", "z"), "<PERSON_2>");
}

}  // namespace
}  // namespace hedge::privacy
