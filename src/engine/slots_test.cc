// Slots, prefix tree, page pool and disk tier together, without a model: instead of keys and values, each
// position holds a signature of all tokens up to it. Whatever a sequence takes over has to show its own
// tokens' signatures.
#include "engine/slots.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/rng.h"
#include "engine/test_util.h"
#include "os/file.h"

namespace hedge::engine {
namespace {

namespace fs = std::filesystem;
using model::KvType;

constexpr int kContext = 1024;
constexpr size_t kChunk = 100;

model::Config config_with(int window) {
  model::Config config;
  config.layers = 3;
  config.kv_heads = 1;
  config.head_dim = 32;
  config.window = window;
  config.local = {window > 0, window > 0, false};
  return config;
}

class Folder {
 public:
  Folder()
      : path_(testing::TempDir() + "hedge-kv-" + std::to_string(getpid()) + "-" + std::to_string(count_++)) {}
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(path_)) names.push_back(file.path().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  uint64_t bytes() const {
    uint64_t total = 0;
    for (const std::string& file : files()) total += fs::file_size(file);
    return total;
  }

 private:
  static inline int count_ = 0;
  const std::string path_;
};

// Sequences over slots, run by a fake forward pass.
class Machine {
 public:
  Machine(int window, size_t pages, int slots, const std::string& folder = "", uint64_t disk_bytes = 64 << 20,
          model::KvType type = model::KvType::kF16)
      : layout_(config_with(window), type), file_{model::TinyModel(engine_spec())} {
    gguf_ = std::move(gguf::File::open(file_.path())).value();
    tokenizer_ = std::move(text::Tokenizer::load(*gguf_)).value();
    bytes_max_ = pages * (layout_.bytes_of(KvPart::kGlobal) + layout_.bytes_of(KvPart::kLocal));
    Slots::Setup setup{bytes_max_, slots, kContext, kChunk, nullptr, {1, 2}, &team_};
    if (!folder.empty()) {
      KvDiskSetup disk{folder, disk_bytes, {1, 2}, {}, [this](const std::string& text) { warning_ = text; }};
      for (const KvPart part : model::kKvPartList)
        disk.part_bytes[static_cast<size_t>(part)] = layout_.bytes_of(part);
      auto opened = KvDisk::open(std::move(disk));
      EXPECT_TRUE(opened.ok()) << opened.error().to_text();
      setup.disk = std::move(opened).value();
    }
    slots_ = std::move(Slots::create(layout_, std::move(setup))).value();
  }

  std::unique_ptr<Sequence> sequence(std::vector<int32_t> tokens, size_t answer) const {
    const size_t count = tokens.size();
    auto made = std::make_unique<Sequence>(Sequence{nullptr,
                                                    std::move(tokens),
                                                    count,
                                                    answer,
                                                    answer,
                                                    count + answer,
                                                    "",
                                                    {},
                                                    Sampler(chat::Sampling{}, 1),
                                                    {},
                                                    AnswerText(*tokenizer_, {}, 0, false)});
    return made;
  }
  // Admits and holds every position that it then has against the tokens.
  bool admit(Sequence& s) {
    if (!slots_->admit(s)) return false;
    EXPECT_LT(s.computed, s.tokens.size());
    expect_signatures(s);
    return true;
  }
  void run(Sequence& s, size_t rows, bool decoded) {
    slots_->extend(s, rows);
    for (size_t p = s.computed; p < s.computed + rows; ++p) {
      for (int layer = 0; layer < 3; ++layer) {
        if (has_packed(layer)) *packed_at(s, layer, p) = signature(s.tokens, p);
        *at(s, layer, p) = signature(s.tokens, p);
      }
    }
    s.computed += rows;
    slots_->advance(s, decoded);
  }
  void run_all(Sequence& s) {
    while (s.computed < s.tokens.size()) run(s, std::min(kChunk, s.tokens.size() - s.computed), false);
  }
  void expect_signatures(Sequence& s) {
    for (int layer = 0; layer < 3; ++layer) {
      const size_t window = layer < 2 ? layout_.window : 0;
      const size_t first = window > 0 && s.computed >= window ? s.computed - window + 1 : 0;
      for (size_t p = 0; p < s.computed; ++p) {
        const uint64_t expected = signature(s.tokens, p);
        if (has_packed(layer)) {
          ASSERT_EQ(*packed_at(s, layer, p), expected) << "packed, position " << p;
          if (s.computed >= layout_.packed_from(layer, p / kKvBlock)) continue;
        } else if (p < first) {
          continue;
        }
        ASSERT_EQ(*at(s, layer, p), expected) << "layer " << layer << ", position " << p;
      }
    }
  }
  // One whole sequence; what it found.
  size_t ask(const std::vector<int32_t>& tokens) {
    const auto s = sequence(tokens, 1);
    EXPECT_TRUE(admit(*s));
    const size_t found = s->computed;
    run_all(*s);
    slots_->release(*s);
    EXPECT_TRUE(slots_->check());
    return found;
  }

  Slots& slots() { return *slots_; }
  const model::KvLayout& layout() const { return layout_; }
  const std::string& warning() const { return warning_; }

 private:
  static uint64_t signature(std::span<const int32_t> tokens, size_t position) {
    uint64_t hash = 1469598103934665603u;
    for (const int32_t token : tokens.first(position + 1))
      hash = (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
    return hash;
  }
  // Somewhere in what the position has of its own.
  uint64_t* at(Sequence& s, int layer, size_t position) {
    return reinterpret_cast<uint64_t*>(slots_->cache(s)->keys_f16(layer, 0, position / kKvBlock) +
                                       position % kKvBlock * 16);
  }
  bool has_packed(int layer) const { return layout_.packs(layer); }
  uint64_t* packed_at(Sequence& s, int layer, size_t position) {
    return reinterpret_cast<uint64_t*>(slots_->cache(s)->block_q5(layer, 0, position / kKvBlock).k +
                                       position % kKvBlock * 16);
  }

  const model::KvLayout layout_;
  const TinyFile file_;
  std::unique_ptr<gguf::File> gguf_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  os::Team team_{2};
  size_t bytes_max_ = 0;
  std::string warning_;
  std::unique_ptr<Slots> slots_;
};

std::vector<int32_t> numbers(size_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = first + static_cast<int32_t>(i);
  return tokens;
}

// Of two branches per block, so that prompts share beginnings of every length.
std::vector<int32_t> random_tokens(Rng& rng) {
  std::vector<int32_t> tokens(1 + rng.below(600));
  int32_t branch = 0;
  for (int32_t& token : tokens) {
    if (rng.below(100) == 0) ++branch;
    token = branch;
  }
  return tokens;
}

TEST(Slots, EveryTokenOfAKnownPrefixIsFound) {
  for (const int window : {0, 100}) {
    Machine machine(window, 64, 2);
    EXPECT_EQ(machine.ask(numbers(500)), 0u);
    EXPECT_EQ(machine.ask(numbers(500)), 499u);
    EXPECT_EQ(machine.ask(numbers(600)), 500u);
    EXPECT_EQ(machine.ask(numbers(333)), 332u);
    std::vector<int32_t> other = numbers(500);
    other[200] = -1;
    EXPECT_EQ(machine.ask(other), 200u);
    EXPECT_EQ(machine.ask(numbers(64)), 63u);
    EXPECT_EQ(machine.ask(numbers(65)), 64u);
    EXPECT_EQ(machine.ask(numbers(3)), 0u);  // too few to be worth a page
    EXPECT_EQ(machine.ask(numbers(500, 1)), 0u);
  }
}

TEST(Slots, ARunningSequenceSharesWhatItHas) {
  Machine machine(0, 64, 3);
  const auto first = machine.sequence(numbers(500), 100);
  ASSERT_TRUE(machine.admit(*first));
  machine.run(*first, 100, false);
  machine.run(*first, 50, false);
  const auto second = machine.sequence(numbers(500), 100);
  ASSERT_TRUE(machine.admit(*second));
  EXPECT_EQ(second->computed, 150u);
  machine.run_all(*first);
  machine.run_all(*second);  // the same pages, computed twice: kept once
  machine.slots().release(*first);
  machine.expect_signatures(*second);
  machine.slots().release(*second);
  EXPECT_TRUE(machine.slots().check());
  EXPECT_EQ(machine.slots().stats().pages_cached, 8u);
}

TEST(Slots, ASequenceWaitsForMemoryAndNeverLacksIt) {
  Machine machine(0, 16, 4);  // 1024 tokens
  const auto first = machine.sequence(numbers(300), 340), second = machine.sequence(numbers(300, 1000), 84),
             third = machine.sequence(numbers(150, 2000), 30);
  ASSERT_TRUE(machine.admit(*first));
  ASSERT_TRUE(machine.admit(*second));
  EXPECT_FALSE(machine.admit(*third));
  machine.run_all(*first);
  machine.run_all(*second);
  EXPECT_FALSE(machine.admit(*third));
  for (int i = 0; i < 340; ++i) {
    first->tokens.push_back(i);
    machine.run(*first, 1, true);
  }
  machine.slots().release(*second);
  ASSERT_TRUE(machine.admit(*third));
  machine.run_all(*third);
  machine.expect_signatures(*first);
  machine.slots().release(*first);
  machine.slots().release(*third);
  EXPECT_TRUE(machine.slots().check());
  EXPECT_GT(machine.slots().stats().pages_evicted, 0u);
  EXPECT_EQ(machine.slots().tokens_max(), 1024u);
}

TEST(Slots, AWindowNeedsLittleMemory) {
  Machine machine(100, 9, 1);  // 9 pages of both parts
  const model::KvLayout& layout = machine.layout();
  EXPECT_EQ(layout.local_blocks_max(1024, kChunk), 5u);
  EXPECT_EQ(layout.bytes(1024, kChunk),
            16 * layout.bytes_of(KvPart::kGlobal) + 5 * layout.bytes_of(KvPart::kLocal));
  const auto s = machine.sequence(numbers(1000), 20);  // as if all parts were kept: 16 pages
  ASSERT_TRUE(machine.admit(*s));
  machine.run_all(*s);
  machine.expect_signatures(*s);
  machine.slots().release(*s);
  EXPECT_EQ(machine.ask(numbers(1000)), 999u);
}

// Random prompts of random lives against the signatures, with a budget that only just suffices.
void run_randomly(Machine& machine, Rng& rng, int rounds, int slots) {
  std::vector<std::unique_ptr<Sequence>> running;
  for (int round = 0; round < rounds; ++round) {
    const size_t which = running.empty() ? 0 : rng.below(running.size());
    switch (rng.below(4)) {
      case 0:
        if (running.size() < static_cast<size_t>(slots)) {
          auto s = machine.sequence(random_tokens(rng), 1 + rng.below(200));
          if (machine.admit(*s)) running.push_back(std::move(s));
        }
        break;
      case 1:
      case 2:
        for (const auto& s : running) {
          const size_t left = s->tokens.size() - s->computed;
          if (left > 1) {
            machine.run(*s, 1 + rng.below(std::min(left, kChunk)), false);
          } else if (s->tokens.size() < s->tokens_max) {
            if (left == 0) s->tokens.push_back(static_cast<int32_t>(rng.below(3)));
            machine.run(*s, 1, true);
          }
        }
        break;
      case 3:
        if (running.empty()) break;
        machine.expect_signatures(*running[which]);
        machine.slots().release(*running[which]);
        running.erase(running.begin() + static_cast<long>(which));
        break;
    }
    ASSERT_TRUE(machine.slots().check()) << "round " << round;
  }
  for (const auto& s : running) machine.slots().release(*s);
  EXPECT_TRUE(machine.slots().check());
}

TEST(Slots, RandomLives) {
  for (const auto& [window, type] : {std::pair{0, KvType::kF16},
                                     {100, KvType::kF16},
                                     {300, KvType::kF16},
                                     {0, KvType::kQ5},
                                     {100, KvType::kQ5}}) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE("window " + std::to_string(window) + ", seed " + std::to_string(seed) + ", " +
                   std::string(model::kv_type_name(type)));
      Rng rng(seed);
      Machine machine(window, 14 + rng.below(20), 4, "", 0, type);
      run_randomly(machine, rng, 1500, 4);
      EXPECT_GT(machine.slots().stats().pages_hit, 0u);
      EXPECT_GT(machine.slots().stats().pages_evicted, 0u);
    }
  }
}

// ---- disk ----

TEST(KvDisk, APrefixOutlivesItsProcess) {
  for (const auto& [window, type] :
       {std::pair{0, KvType::kF16}, {100, KvType::kF16}, {0, KvType::kQ5}, {100, KvType::kQ5}}) {
    const Folder folder;
    {
      Machine machine(window, 64, 2, folder.path(), 64 << 20, type);
      machine.ask(numbers(700));
    }
    EXPECT_EQ(folder.files().size(), 11u);
    EXPECT_EQ(fs::status(folder.path()).permissions(), fs::perms::owner_all);
    for (const std::string& file : folder.files())
      EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    Machine machine(window, 64, 2, folder.path(), 64 << 20, type);
    EXPECT_EQ(machine.ask(numbers(700)), 699u);
    std::vector<int32_t> other = numbers(700);
    other[500] = -1;
    EXPECT_EQ(machine.slots().stats().disk.pages_read, 11u);
    EXPECT_EQ(machine.ask(other), 500u);  // with a window: local parts that the whole one did not need
    EXPECT_EQ(machine.ask(numbers(700, 3)), 0u);
    Machine shorter(window, 64, 2, folder.path(), 64 << 20, type);
    EXPECT_EQ(shorter.ask(numbers(690)), 689u);
  }
}

TEST(KvDisk, ShortSequencesAreNotKept) {
  const Folder folder;
  { Machine(0, 64, 2, folder.path()).ask(numbers(200)); }
  EXPECT_TRUE(folder.files().empty());
}

TEST(KvDisk, BrokenFilesAreRemovedAndNeverBelieved) {
  Rng rng(5);
  const Folder folder;
  for (int round = 0; round < 150; ++round) {
    {
      Machine machine(100, 64, 2, folder.path());
      machine.ask(numbers(400));  // holds what it finds against the tokens
      machine.slots().disk()->flush();
    }
    const std::vector<std::string> files = folder.files();
    ASSERT_EQ(files.size(), 7u) << "round " << round;  // broken ones were removed and written again
    const std::string& victim = files[rng.below(files.size())];
    const size_t size = fs::file_size(victim);
    switch (round % 4) {
      case 0:
        fs::resize_file(victim, rng.below(size));
        break;
      case 1:
        fs::resize_file(victim, size + 1 + rng.below(100));
        break;
      case 2: {
        // A page of other tokens under this one's name.
        const std::string& from =
            files[(rng.below(files.size() - 1) + 1 +
                   static_cast<size_t>(std::find(files.begin(), files.end(), victim) - files.begin())) %
                  files.size()];
        fs::copy_file(from, victim, fs::copy_options::overwrite_existing);
        break;
      }
      case 3: {
        // The first 80 bytes are the header.
        const size_t at = round % 8 == 3 ? rng.below(80) : rng.below(size);
        std::fstream file(victim, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<long>(at));
        const char old = static_cast<char>(file.get());
        file.seekp(static_cast<long>(at));
        file.put(static_cast<char>(old ^ (1 << rng.below(8))));
        break;
      }
    }
  }
}

TEST(KvDisk, TheFolderKeepsItsLimit) {
  const Folder folder;
  const uint64_t limit = 40 * 30000;
  Machine machine(0, 64, 2, folder.path(), limit);
  for (int i = 0; i < 20; ++i) {
    machine.ask(numbers(500, 10000 * i));
    machine.slots().disk()->flush();
    EXPECT_LE(folder.bytes(), limit);
  }
  EXPECT_GT(folder.bytes(), limit / 2);
  EXPECT_EQ(machine.slots().stats().disk.pages_written, 160u);
  Machine later(0, 64, 2, folder.path(), limit);
  EXPECT_EQ(later.ask(numbers(500, 190000)), 499u);
  EXPECT_EQ(later.ask(numbers(500, 0)), 0u);
}

// What is found in memory again and again would otherwise be the oldest on disk.
TEST(KvDisk, APrefixInUseStays) {
  const Folder folder;
  const uint64_t limit = 40 * 30000;
  {
    Machine machine(0, 64, 2, folder.path(), limit);
    machine.ask(numbers(500));
    for (int i = 1; i <= 20; ++i) {
      machine.ask(numbers(500, 10000 * i));
      machine.slots().disk()->flush();
      EXPECT_EQ(machine.ask(numbers(500)), 499u);
    }
  }
  EXPECT_LE(folder.bytes(), limit);
  Machine later(0, 64, 2, folder.path(), limit);
  EXPECT_GE(later.ask(numbers(500)), 448u);  // whole pages; the end below one belongs to its own sequence
}

TEST(KvDisk, FilesOfOthersStay) {
  const Folder folder;
  fs::create_directories(folder.path());
  std::ofstream(folder.path() + "/notes.txt") << "mine";
  Machine machine(0, 64, 2, folder.path(), 1000);
  machine.ask(numbers(500));
  machine.slots().disk()->flush();
  EXPECT_EQ(folder.files().size(), 1u);  // nothing else fits into 1000 bytes
}

TEST(KvDisk, TwoProcessesShareAFolder) {
  const Folder folder;
  const uint64_t limit = 40 * 30000;
  Machine one(0, 64, 2, folder.path(), limit), two(0, 64, 2, folder.path(), limit);
  Rng rng(9);
  for (int i = 0; i < 60; ++i) {
    Machine& machine = rng.below(2) == 0 ? one : two;
    machine.ask(numbers(300 + rng.below(300), 10000 * static_cast<int32_t>(rng.below(4))));
  }
  Machine third(0, 64, 2, folder.path(), limit);
  for (int i = 0; i < 4; ++i) third.ask(numbers(600, 10000 * i));
  EXPECT_EQ(one.warning() + two.warning() + third.warning(), "");
}

TEST(KvDisk, ADeletedFolderIsHarmless) {
  const Folder folder;
  Machine machine(0, 12, 2, folder.path());
  machine.ask(numbers(500));
  machine.slots().disk()->flush();
  fs::remove_all(folder.path());
  machine.ask(numbers(500, 5000));  // puts half of the first one out of memory
  machine.slots().disk()->flush();
  EXPECT_EQ(machine.ask(numbers(400)), 256u);
  machine.slots().disk()->flush();
  EXPECT_EQ(folder.files().size(), 8u + 3u);
  EXPECT_EQ(machine.warning(), "");
}

TEST(KvDisk, AFolderThatCannotBeUsedIsAnError) {
  const Folder folder;
  std::ofstream(folder.path()) << "a file";
  EXPECT_FALSE(KvDisk::open({folder.path(), 1000, {}, {}, nullptr}).ok());
  EXPECT_FALSE(KvDisk::open({folder.path() + "/below", 1000, {}, {}, nullptr}).ok());
  EXPECT_FALSE(KvDisk::open({"/proc/kv", 1000, {}, {}, nullptr}).ok());
}

TEST(KvDisk, RandomLivesWithRestarts) {
  for (const auto& [window, type] :
       {std::pair{0, KvType::kF16}, {100, KvType::kF16}, {0, KvType::kQ5}, {100, KvType::kQ5}}) {
    const Folder folder;
    Rng rng(static_cast<uint64_t>(window) + 3);
    uint64_t read = 0;
    for (int life = 0; life < 12; ++life) {
      SCOPED_TRACE("window " + std::to_string(window) + ", life " + std::to_string(life) + ", " +
                   std::string(model::kv_type_name(type)));
      Machine machine(window, 14 + rng.below(20), 4, folder.path(), 100 * 14000, type);
      run_randomly(machine, rng, 200, 4);
      read += machine.slots().stats().disk.pages_read;
      EXPECT_EQ(machine.slots().stats().disk.files_rejected, 0u);
    }
    EXPECT_GT(read, 0u);
  }
}

// ---- the budget ----

TEST(KvBudget, FitsTheMachine) {
  constexpr size_t kMb = 1 << 20;
  const auto with = [](uint64_t available) { return os::MemorySizes{available, available}; };
  EXPECT_EQ(automatic_kv_bytes(100 * kMb, 500 * kMb, with(0)), 100 * kMb);             // unknown
  EXPECT_EQ(automatic_kv_bytes(100 * kMb, 500 * kMb, with(8500 * kMb)), 1000 * kMb);   // an eighth
  EXPECT_EQ(automatic_kv_bytes(100 * kMb, 0, with(1000000 * kMb)), 4096 * kMb);        // and no more
  EXPECT_EQ(automatic_kv_bytes(2000 * kMb, 500 * kMb, with(8500 * kMb)), 2000 * kMb);  // all slots' contexts
  EXPECT_EQ(automatic_kv_bytes(2000 * kMb, 500 * kMb, with(1500 * kMb)), 500 * kMb);   // memory is short
  EXPECT_EQ(automatic_kv_bytes(2000 * kMb, 2000 * kMb, with(1600 * kMb)), 400 * kMb);
}

}  // namespace
}  // namespace hedge::engine
