// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/request.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace weft::http {
namespace {

// Takes the next line off `text`, without its end. False when there is none.
bool TakeLine(absl::string_view* text, absl::string_view* line) {
  const size_t end = text->find('\n');
  if (end == absl::string_view::npos) return false;
  *line = text->substr(0, end);
  text->remove_prefix(end + 1);
  absl::ConsumeSuffix(line, "\r");
  return true;
}

absl::string_view Trim(absl::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// RFC 9110 section 5.5: no control characters but the tab.
bool IsFieldValue(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7f); });
}

bool IsTarget(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

int ParseVersion(absl::string_view text, int* minor) {
  if (text == "HTTP/1.1" || text == "HTTP/1.0") {
    *minor = text.back() - '0';
    return 0;
  }
  const bool is_version = text.size() == 8 && absl::StartsWith(text, "HTTP/") &&
                          absl::ascii_isdigit(static_cast<unsigned char>(text[5])) &&
                          text[6] == '.' &&
                          absl::ascii_isdigit(static_cast<unsigned char>(text[7]));
  return is_version ? 505 : 400;
}

// RFC 9112 section 3.2: origin form, absolute form, or the asterisk of OPTIONS.
bool SplitTarget(RequestHead* head) {
  absl::string_view rest = head->target;
  if (absl::StartsWithIgnoreCase(rest, "http://")) {
    rest.remove_prefix(std::strlen("http://"));
    rest.remove_prefix(std::min(rest.find_first_of("/?"), rest.size()));
    if (rest.empty() || rest.front() == '?') {
      head->path = "/";
      head->query = rest.empty() ? rest : rest.substr(1);
      return true;
    }
  } else if (rest == "*") {
    head->path = rest;
    return head->method == "OPTIONS";
  }
  if (rest.empty() || rest.front() != '/') return false;
  const size_t question = std::min(rest.find('?'), rest.size());
  head->path = rest.substr(0, question);
  head->query = rest.substr(std::min(question + 1, rest.size()));
  return true;
}

int ParseRequestLine(absl::string_view line, RequestHead* head) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == absl::string_view::npos || first == last) return 400;
  head->method = line.substr(0, first);
  head->target = line.substr(first + 1, last - first - 1);
  if (!IsToken(head->method) || !IsTarget(head->target)) return 400;
  if (const int status = ParseVersion(line.substr(last + 1), &head->minor_version); status != 0) {
    return status;
  }
  return SplitTarget(head) ? 0 : 400;
}

// What the fields say of the connection and the body.
int Interpret(RequestHead* head) {
  size_t hosts = 0;
  bool close = false;
  bool keep_alive = false;
  bool coded = false;
  for (const Field& field : head->fields()) {
    if (absl::EqualsIgnoreCase(field.name, "host")) {
      ++hosts;
    } else if (absl::EqualsIgnoreCase(field.name, "connection")) {
      close |= HasToken(field.value, "close");
      keep_alive |= HasToken(field.value, "keep-alive");
    } else if (absl::EqualsIgnoreCase(field.name, "content-length")) {
      uint64_t length = 0;
      if (!ParseLength(field.value, &length)) return 400;
      if (head->content_length && *head->content_length != length) return 400;
      head->content_length = length;
    } else if (absl::EqualsIgnoreCase(field.name, "transfer-encoding")) {
      if (coded) return 400;
      coded = true;
      head->chunked = absl::EqualsIgnoreCase(field.value, "chunked");
    }
  }
  if (hosts > 1 || (hosts == 0 && head->minor_version == 1)) return 400;
  if (coded && (head->content_length || head->minor_version == 0)) return 400;
  if (coded && !head->chunked) return 501;
  head->keep_alive = !close && (head->minor_version == 1 || keep_alive);
  return 0;
}

}  // namespace

size_t HeadScanner::Scan(absl::string_view piece) {
  size_t i = 0;
  while (i < piece.size()) {
    if (state_ == State::kInLine) {
      const size_t newline = piece.find('\n', i);
      if (newline == absl::string_view::npos) return 0;
      state_ = State::kLineStart;
      i = newline + 1;
      continue;
    }
    const char c = piece[i++];
    if (c == '\n') {
      Reset();
      return i;
    }
    state_ = c == '\r' && state_ == State::kLineStart ? State::kLineStartCr : State::kInLine;
  }
  return 0;
}

const Field* RequestHead::Find(absl::string_view name) const {
  for (const Field& field : fields()) {
    // Most differ in length: seen here, without a call.
    if (field.name.size() == name.size() && absl::EqualsIgnoreCase(field.name, name)) return &field;
  }
  return nullptr;
}

bool IsToken(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || (c != 0 && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
  });
}

bool HasToken(absl::string_view list, absl::string_view token) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (absl::EqualsIgnoreCase(Trim(list.substr(0, comma)), token)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool ParseLength(absl::string_view text, uint64_t* length) {
  if (text.empty() || text.size() > 18) return false;
  *length = 0;
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
    *length = *length * 10 + static_cast<uint64_t>(c - '0');
  }
  return true;
}

int ParseFields(absl::string_view lines, absl::Span<Field> fields, size_t* count) {
  *count = 0;
  for (absl::string_view line; TakeLine(&lines, &line);) {
    if (line.empty()) return lines.empty() ? 0 : 400;
    const size_t colon = line.find(':');
    // A line that goes on with white space is refused (RFC 9112 section 5.2), and so is white space
    // in front of the colon (section 5.1): neither is a token.
    if (colon == absl::string_view::npos || !IsToken(line.substr(0, colon))) return 400;
    const absl::string_view value = Trim(line.substr(colon + 1));
    if (!IsFieldValue(value)) return 400;
    if (*count == fields.size()) return 431;
    fields[(*count)++] = {line.substr(0, colon), value};
  }
  return 400;
}

int ParseRequest(absl::string_view text, RequestHead* head) {
  head->path = head->query = {};
  head->content_length.reset();
  head->chunked = false;
  head->field_count = 0;
  absl::string_view line;
  if (!TakeLine(&text, &line)) return 400;
  if (const int status = ParseRequestLine(line, head); status != 0) return status;
  const int status = ParseFields(text, absl::MakeSpan(head->all_fields), &head->field_count);
  return status != 0 ? status : Interpret(head);
}

}  // namespace weft::http
