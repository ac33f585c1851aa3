//! The responses. No byte of a response that becomes a 502 may reach the client; each such response contains `evil`.

use super::{Reply, Response, padded};

const fn whole(status: u16, name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Whole(status), error: None }
}

const fn to_head(status: u16, name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: true, bytes, reply: Reply::Whole(status), error: None }
}

const fn disbelieved(error: &'static str, name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Whole(502), error: Some(error) }
}

const fn no_response(name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Whole(502), error: None }
}

const fn broken(name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Broken, error: None }
}

static LONG_RESPONSE_HEAD: [u8; 40_000] =
    padded(b"HTTP/1.1 200 OK\r\nX: ", b"a", b"\r\nContent-Length: 0\r\n\r\n");

/// Responses, each sent as the answer to a plain request. After the response the backend ends its stream.
pub const RESPONSES: &[Response] = &[
    whole(200, "length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    whole(200, "length of none", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(200, "until close", b"HTTP/1.1 200 OK\r\n\r\nhello"),
    whole(200, "until close, empty", b"HTTP/1.1 200 OK\r\n\r\n"),
    whole(200, "old", b"HTTP/1.0 200 OK\r\n\r\nhello"),
    whole(200, "chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    whole(200, "chunks with trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\nContent-Length: 1\r\n\r\n"),
    whole(204, "204", b"HTTP/1.1 204 No Content\r\n\r\n"),
    whole(304, "304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    whole(200, "no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    whole(200, "line ends without CR", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    whole(200, "more than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n"),
    whole(200, "early hints", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(200, "length twice the same", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    whole(500, "error of the backend", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"),
    to_head(200, "length to HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    to_head(200, "body to HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    to_head(200, "coding to HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    no_response("nothing but an end", b""),
    no_response("half a head", b"HTTP/1.1 200 evil\r\nContent-Le"),
    no_response("hints and no more", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    no_response("101 unasked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    disbelieved("Version", "no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    disbelieved("Version", "version 2.0", b"HTTP/2.0 200 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("Version", "version 0.9", b"evil!\r\n\r\n"),
    disbelieved("BadStartLine", "status of two digits", b"HTTP/1.1 20 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadStartLine", "status of four digits", b"HTTP/1.1 2000 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadStartLine", "status 000", b"HTTP/1.1 000 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadStartLine", "status 999", b"HTTP/1.1 999 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("EmptyLines", "empty line in front", b"\r\nHTTP/1.1 200 evil\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("LengthsDiffer", "lengths that differ", b"HTTP/1.1 200 evil\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nevil!!"),
    disbelieved("BadLength", "negative length", b"HTTP/1.1 200 evil\r\nContent-Length: -5\r\n\r\nevil!"),
    disbelieved("BadLength", "empty length", b"HTTP/1.1 200 evil\r\nContent-Length:\r\n\r\n"),
    disbelieved("BadLength", "length beyond 64 bits", b"HTTP/1.1 200 evil\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    disbelieved("LengthAndCoding", "length and coding", b"HTTP/1.1 200 evil\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    disbelieved("CodingInHttp10", "coding in HTTP/1.0", b"HTTP/1.0 200 evil\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    disbelieved("BadCoding", "chunked twice", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    disbelieved("UnknownCoding", "gzip, chunked", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    disbelieved("BadCoding", "identity", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: identity\r\n\r\nevil!"),
    disbelieved("BadFieldName", "folded field", b"HTTP/1.1 200 evil\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadFieldName", "space before a colon", b"HTTP/1.1 200 evil\r\nContent-Length : 5\r\n\r\nevil!"),
    disbelieved("BadFieldValue", "NUL in a value", b"HTTP/1.1 200 evil\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadFieldValue", "bare CR in a value", b"HTTP/1.1 200 evil\r\nX: y\rZ\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("BadFieldName", "field without a colon", b"HTTP/1.1 200 evil\r\nX\r\nContent-Length: 0\r\n\r\n"),
    disbelieved("TooLarge", "head of 40 KB", &LONG_RESPONSE_HEAD),
    whole(599, "status 599", b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok"),
    whole(200, "chunks and more", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore"),
    whole(599, "reason of several words", b"HTTP/1.1 599 A b\tc\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    whole(204, "old, kept, 204", b"HTTP/1.0 204 \r\nConnection: keep-alive\r\n\r\n"),
    whole(304, "304 that closes", b"HTTP/1.1 304 \r\nConnection: close\r\n\r\n"),
    disbelieved("BadStartLine", "status 099", b"HTTP/1.1 099 evil\r\n\r\n"),
    disbelieved("BadStartLine", "status 600", b"HTTP/1.1 600 evil\r\n\r\n"),
    disbelieved("BadStartLine", "status with a sign", b"HTTP/1.1 +20 evil\r\n\r\n"),
    disbelieved("BadStartLine", "two spaces before the status", b"HTTP/1.1  200 evil\r\n\r\n"),
    disbelieved("BadStartLine", "NUL in the reason", b"HTTP/1.1 200 O\0K\r\n\r\n"),
    disbelieved("BadStartLine", "bare CR in the reason", b"HTTP/1.1 200 O\rK\r\n\r\n"),
    disbelieved("Version", "another protocol", b"ICY 200 evil\r\n\r\n"),
    disbelieved("BadLength", "length with a letter", b"HTTP/1.1 200 evil\r\nContent-Length: 4x\r\n\r\nevil"),
    disbelieved("BadCoding", "gzip alone", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: gzip\r\n\r\nevil"),
    disbelieved("BadCoding", "chunked, gzip", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: chunked, gzip\r\n\r\nevil"),
    disbelieved("BadCoding", "chunked in two fields", b"HTTP/1.1 200 evil\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    disbelieved("BadFieldName", "folded field with a body", b"HTTP/1.1 200 evil\r\nX: y\r\n evil\r\n\r\n"),
    no_response("half a field", b"HTTP/1.1 200 evil\r\nX: evil"),
    no_response("hints and no HTTP", b"HTTP/1.1 103 Hints\r\n\r\nevil\r\n\r\n"),
    broken("cut short", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"),
    broken("cut in a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"),
    broken("cut behind a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    broken("cut before the last line", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    broken("bare LF behind a chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    broken("chunk size that is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n"),
    broken("chunk longer than said", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
    broken("broken trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
    broken("cut in its length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
];
