#include "session/trace_json.h"

#include <gtest/gtest.h>

#include <limits>

namespace hedge::session {
namespace {

TEST(TraceJson, EveryFieldComesBack) {
  chat::Trace trace;
  trace.id = "hd-1";
  trace.session = "s-1";
  trace.route = "mixed";
  trace.reasons = {"confidence.mid", "upstream.failed"};
  trace.segments = {{"local", 5}, {"cloud \"x\"", size_t{1} << 40}};
  trace.steps = {{-3, "gate.none", "no gate", 0.25, -1e-9}, {9'000'000'000, "switch", "\xc3\xa9", 3, 4}};
  trace.upstream_tokens = 1LL << 40;
  trace.upstream_nanos = 1LL << 41;
  trace.tenant = "office";
  trace.facts = {{"gain", "", 0.25, false}, {"model", "big", 0, true}};
  trace.created_ms = 1'790'000'000'000;
  trace.total_ms = 12.5;
  trace.path = "device,fog";
  chat::Trace above;
  above.id = "hd-9";
  above.route = "upstream";
  above.path = "device,fog,cloud";
  trace.upstream = std::make_shared<chat::Trace>(above);
  const Result<chat::Trace> back = decode_trace(encode_trace(trace));
  ASSERT_TRUE(back.ok()) << back.error().to_text();
  EXPECT_EQ(back.value().id, trace.id);
  EXPECT_EQ(back.value().session, trace.session);
  EXPECT_EQ(back.value().route, trace.route);
  EXPECT_EQ(back.value().reasons, trace.reasons);
  EXPECT_EQ(back.value().segments, trace.segments);
  ASSERT_EQ(back.value().steps.size(), 2u);
  EXPECT_EQ(back.value().steps[0].at_ms, -3);
  EXPECT_EQ(back.value().steps[0].what, "gate.none");
  EXPECT_EQ(back.value().steps[0].detail, "no gate");
  EXPECT_EQ(back.value().steps[0].value, 0.25);
  EXPECT_EQ(back.value().steps[0].threshold, -1e-9);
  EXPECT_EQ(back.value().steps[1].at_ms, 9'000'000'000);
  EXPECT_EQ(back.value().steps[1].detail, "\xc3\xa9");
  EXPECT_EQ(back.value().upstream_tokens, trace.upstream_tokens);
  EXPECT_EQ(back.value().upstream_nanos, trace.upstream_nanos);
  EXPECT_EQ(back.value().tenant, "office");
  ASSERT_EQ(back.value().facts.size(), 2u);
  EXPECT_EQ(back.value().facts[0].number, 0.25);
  EXPECT_EQ(back.value().facts[1].text, "big");
  EXPECT_TRUE(back.value().facts[1].is_text);
  EXPECT_EQ(back.value().created_ms, trace.created_ms);
  EXPECT_EQ(back.value().total_ms, trace.total_ms);
  EXPECT_EQ(back.value().path, trace.path);
  ASSERT_NE(back.value().upstream, nullptr);
  EXPECT_EQ(back.value().upstream->id, "hd-9");
  EXPECT_EQ(back.value().upstream->path, "device,fog,cloud");
  EXPECT_EQ(back.value().upstream->upstream, nullptr);
}

TEST(TraceJson, WhatJsonCannotHoldDoesNoHarm) {
  chat::Trace trace;
  trace.route = "broken \xff utf-8";
  trace.total_ms = std::numeric_limits<double>::quiet_NaN();
  const Result<chat::Trace> back = decode_trace(encode_trace(trace));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back.value().route, "broken \xef\xbf\xbd utf-8");
  EXPECT_EQ(back.value().total_ms, 0);
}

TEST(TraceJson, FieldsMayBeAbsentOrUnknown) {
  const Result<chat::Trace> trace = decode_trace(R"({"id":"hd-2","later":[1]})");
  ASSERT_TRUE(trace.ok());
  EXPECT_EQ(trace.value().id, "hd-2");
  EXPECT_EQ(trace.value().created_ms, 0);
}

TEST(TraceJson, DamageIsAnError) {
  for (const char* text :
       {"", "{", "[]", "7", R"({"id":7})", R"({"reasons":["a",1]})", R"({"segments":[{"bytes":-1}]})",
        R"({"segments":{}})", R"({"steps":[3]})", R"({"facts":{"a":[]}})", R"({"facts":[]})",
        R"({"total_ms":"x"})", R"({"created_ms":1.5})"}) {
    const Result<chat::Trace> trace = decode_trace(text);
    ASSERT_FALSE(trace.ok()) << text;
    EXPECT_EQ(trace.error().code, ErrorCode::kCorrupt) << text;
  }
  for (const char* text : {"", "{}", "[1]", R"([{"backend":1}])", R"([{"bytes":"1"}])"}) {
    const auto segments = decode_segments(text);
    ASSERT_FALSE(segments.ok()) << text;
    EXPECT_EQ(segments.error().code, ErrorCode::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace hedge::session
