#include "chat/fallback.h"

namespace hedge::chat {

bool another_may_answer(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kCancelled:
      return false;
    case ErrorCode::kContextExceeded:
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported:
    case ErrorCode::kPermission:
    case ErrorCode::kExhausted:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return true;
  }
  return false;
}

}  // namespace hedge::chat
