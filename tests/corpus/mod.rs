//! Raw messages that servers have disagreed about, each with what becomes of it here.
//!
//! The classes are those of published advisories: two framings, codings that are lists, lengths that are no numbers,
//! lenient chunks, line ends, hop-by-hop fields, hosts and targets. A request is followed by nothing; a response is
//! followed by the end of the backend's stream.
#![allow(unreachable_pub, dead_code, reason = "a module of several tests, each of which uses a part")]

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The backend gets it, and its whole body.
    Forwarded,
    /// It is answered with this status and the connection is closed; the backend does not get it whole.
    Refused(u16),
}

/// A raw request.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub bytes: &'static [u8],
    pub fate: Fate,
}

/// What a client gets of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A response with this status, whole.
    Whole(u16),
    /// The head, then a connection that breaks off.
    Broken,
}

/// A raw response to `GET`, or to `HEAD` where that is said.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    pub name: &'static str,
    pub head: bool,
    pub bytes: &'static [u8],
    pub reply: Reply,
}

const fn forwarded(name: &'static str, bytes: &'static [u8]) -> Case {
    Case { name, bytes, fate: Fate::Forwarded }
}

const fn refused(status: u16, name: &'static str, bytes: &'static [u8]) -> Case {
    Case { name, bytes, fate: Fate::Refused(status) }
}

const fn whole(status: u16, name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Whole(status) }
}

const fn to_head(status: u16, name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: true, bytes, reply: Reply::Whole(status) }
}

const fn broken(name: &'static str, bytes: &'static [u8]) -> Response {
    Response { name, head: false, bytes, reply: Reply::Broken }
}

/// `before`, as much of `fill` as it takes, `after`.
const fn padded<const N: usize>(before: &[u8], fill: &[u8], after: &[u8]) -> [u8; N] {
    let (mut bytes, mut at) = ([0; N], 0);
    while at < N {
        bytes[at] = if at < before.len() {
            before[at]
        } else if at < N - after.len() {
            fill[(at - before.len()) % fill.len()]
        } else {
            after[at + after.len() - N]
        };
        at += 1;
    }
    bytes
}

static LONG_TARGET: [u8; 9000] = padded(b"GET /", b"a", b" HTTP/1.1\r\nHost: a\r\n\r\n");
static LONG_FIELD: [u8; 40_000] = padded(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", b"\r\n\r\n");
static MANY_FIELDS: [u8; 26 + 7 * 200 + 2] = padded(b"GET / HTTP/1.1\r\nHost: ab\r\n", b"X: yz\r\n", b"\r\n");
static LARGE_HEAD: [u8; 30_000] = padded(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", b"\r\n\r\n");
static LONG_RESPONSE_HEAD: [u8; 40_000] =
    padded(b"HTTP/1.1 200 OK\r\nX: ", b"a", b"\r\nContent-Length: 0\r\n\r\n");
static LONG_EXTENSION: [u8; 6000] = padded(
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    b"a",
    b"\r\nhello\r\n0\r\n\r\n",
);
static LONG_TRAILER: [u8; 9000] =
    padded(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a", b"\r\n\r\n");

/// Requests.
pub const REQUESTS: &[Case] = &[
    forwarded("plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    forwarded("empty lines in front", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    forwarded("line ends without CR", b"GET / HTTP/1.1\nHost: a\nX: y\n\n"),
    forwarded("old", b"GET / HTTP/1.0\r\n\r\n"),
    forwarded("old, kept", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    forwarded("absolute form", b"GET http://b/c?d HTTP/1.1\r\nHost: a\r\n\r\n"),
    forwarded("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    forwarded("unknown method", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    forwarded("no value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"),
    forwarded("bytes beyond ASCII in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n"),
    forwarded("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    forwarded("length of none", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    forwarded("length twice the same", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"),
    forwarded("body of a GET", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    forwarded(
        "chunks",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n...\r\n0\r\n\r\n",
    ),
    forwarded(
        "chunks with extensions and trailers",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=\"b;\\\"\"\r\nhello\r\n00\r\nX: y\r\n\r\n",
    ),
    forwarded(
        "framing in trailers",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n",
    ),
    forwarded(
        "connection names framing",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 5\r\n\r\nhello",
    ),
    forwarded("odd connection bytes", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ,\"\xff,, close ;\r\n\r\n"),
    forwarded("head of 30 KB", &LARGE_HEAD),
    forwarded("upgrade unasked for", b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n"),
    refused(
        400,
        "length and coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "coding and length",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    refused(400, "lengths that differ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    refused(400, "list of lengths that differ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello!"),
    refused(400, "negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello"),
    refused(400, "length with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    refused(400, "hexadecimal length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    refused(400, "empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello"),
    refused(400, "length with a comma behind", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\nhello"),
    refused(400, "length with underscores", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nhellohello"),
    refused(400, "length beyond 64 bits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    refused(400, "length cut by a tab", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\t6\r\n\r\nhello"),
    refused(400, "coding in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    refused(
        400,
        "chunked twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "chunked in two fields",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "chunked, identity",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    refused(400, "identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    refused(400, "empty coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    refused(400, "xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    refused(
        400,
        "vertical tab before chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    refused(501, "gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    refused(
        400,
        "chunk size with a bare LF",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "bare LF in a chunk extension",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "bare CR behind a chunk size",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\rXhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "chunk data without its line end",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    ),
    refused(
        400,
        "chunk size with a prefix",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "chunk size beyond 64 bits",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "empty chunk size",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        400,
        "trailer without a colon",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    ),
    refused(
        400,
        "folded trailer",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n",
    ),
    refused(400, "long chunk extension", &LONG_EXTENSION),
    refused(400, "long trailer", &LONG_TRAILER),
    refused(400, "no host", b"GET / HTTP/1.1\r\n\r\n"),
    refused(400, "two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    refused(400, "empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    refused(400, "host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    refused(400, "host with user information", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    refused(400, "hosts in a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    refused(400, "host with a wrong port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
    refused(400, "absolute form with a wrong host", b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "folded field", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    refused(400, "folded host", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    refused(400, "space before a colon", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    refused(400, "space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused(400, "empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    refused(400, "name that is no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n"),
    refused(400, "NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n"),
    refused(400, "NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"),
    refused(400, "control byte in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
    refused(400, "bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: z\r\n\r\n"),
    refused(400, "bare CR as a line end", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    refused(400, "field without a colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    refused(400, "fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "bytes beyond ASCII in the target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "asterisk to GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "method that is no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "lower-case protocol", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "no version", b"GET /\r\nHost: a\r\n\r\n"),
    refused(400, "many empty lines", b"\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused(400, "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    refused(505, "version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    refused(505, "version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    refused(505, "preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    refused(501, "CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    refused(417, "unknown expectation", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: 5\r\n\r\nhello"),
    refused(414, "long target", &LONG_TARGET),
    refused(431, "head of 40 KB", &LONG_FIELD),
    refused(431, "200 fields", &MANY_FIELDS),
];

/// Responses, each sent as the answer to a plain request, behind which the backend ends its stream.
pub const RESPONSES: &[Response] = &[
    whole(200, "length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    whole(200, "length of none", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(200, "until close", b"HTTP/1.1 200 OK\r\n\r\nhello"),
    whole(200, "until close, empty", b"HTTP/1.1 200 OK\r\n\r\n"),
    whole(200, "old", b"HTTP/1.0 200 OK\r\n\r\nhello"),
    whole(200, "chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    whole(
        200,
        "chunks with trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\nContent-Length: 1\r\n\r\n",
    ),
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
    whole(502, "nothing but an end", b""),
    whole(502, "half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    whole(502, "hints and no more", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    whole(502, "101 unasked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    whole(502, "no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    whole(502, "version 2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "version 0.9", b"hello\r\n\r\n"),
    whole(502, "status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "status 000", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "status 999", b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "empty line in front", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "lengths that differ", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    whole(502, "negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
    whole(502, "empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"),
    whole(502, "length beyond 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    whole(
        502,
        "length and coding",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    whole(502, "coding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    whole(502, "chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    whole(502, "gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    whole(502, "identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    whole(502, "folded field", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "space before a colon", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    whole(502, "NUL in a value", b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "bare CR in a value", b"HTTP/1.1 200 OK\r\nX: y\rZ\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "field without a colon", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"),
    whole(502, "head of 40 KB", &LONG_RESPONSE_HEAD),
    broken("cut short", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"),
    broken("cut in a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"),
    broken("cut behind a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    broken("cut before the last line", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    broken("bare LF behind a chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    broken("chunk size that is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n"),
    broken("chunk longer than said", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
    broken(
        "broken trailer",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    ),
];
