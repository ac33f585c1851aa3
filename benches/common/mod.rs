//! Typical messages and the settings that the benchmarks share.
#![allow(dead_code)]

use std::fmt;
use std::time::Duration;

use divan::Divan;

/// A message with its name in the table.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static str,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A request of wrk.
pub(crate) const SMALL_REQUEST: Message =
    Message { name: "small", bytes: "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n" };

/// A request of a browser with a session: twenty fields.
pub(crate) const BROWSER_REQUEST: Message = Message {
    name: "browser",
    bytes: concat!(
        "GET /articles/2024/11/scales-and-balances?page=2&sort=newest HTTP/1.1\r\n",
        "Host: www.example.com\r\n",
        "Connection: keep-alive\r\n",
        "Cache-Control: max-age=0\r\n",
        "sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n",
        "sec-ch-ua-mobile: ?0\r\n",
        "sec-ch-ua-platform: \"Linux\"\r\n",
        "DNT: 1\r\n",
        "Upgrade-Insecure-Requests: 1\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36\r\n",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Mode: navigate\r\n",
        "Sec-Fetch-User: ?1\r\n",
        "Sec-Fetch-Dest: document\r\n",
        "Referer: https://www.example.com/articles/2024/11/\r\n",
        "Accept-Encoding: gzip, deflate, br, zstd\r\n",
        "Accept-Language: id-ID,id;q=0.9,en-GB;q=0.8,en;q=0.7\r\n",
        "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=necessary; _ga=GA1.1.18.17\r\n",
        "If-None-Match: W/\"5f3c-18a\"\r\n",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "\r\n",
    ),
};

/// The response head of a file server for a body of 128 bytes.
pub(crate) const SMALL_RESPONSE: Message = Message {
    name: "small",
    bytes: concat!(
        "HTTP/1.1 200 OK\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Content-Type: text/html\r\n",
        "Content-Length: 128\r\n",
        "\r\n",
    ),
};

/// The response head of an application with a web framework: twenty fields.
pub(crate) const BROWSER_RESPONSE: Message = Message {
    name: "browser",
    bytes: concat!(
        "HTTP/1.1 200 OK\r\n",
        "Server: nginx\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Length: 128\r\n",
        "Connection: keep-alive\r\n",
        "Vary: Accept-Encoding, Cookie\r\n",
        "Cache-Control: private, max-age=0, must-revalidate\r\n",
        "ETag: W/\"5f3c-18b\"\r\n",
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Content-Language: id\r\n",
        "Set-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Path=/; Secure; HttpOnly; SameSite=Lax\r\n",
        "Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n",
        "Content-Security-Policy: default-src 'self'; img-src 'self' data:; frame-ancestors 'none'\r\n",
        "X-Content-Type-Options: nosniff\r\n",
        "X-Frame-Options: DENY\r\n",
        "Referrer-Policy: strict-origin-when-cross-origin\r\n",
        "Permissions-Policy: camera=(), microphone=(), geolocation=()\r\n",
        "X-Request-Id: 0af7651916cd43dd8448eb211c80319c\r\n",
        "Server-Timing: db;dur=12.3, app;dur=4.5\r\n",
        "Accept-Ranges: bytes\r\n",
        "\r\n",
    ),
};

/// Makes a chunked body of `total` bytes in chunks of `chunk` bytes, without trailers.
pub(crate) fn chunked(total: usize, chunk: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..total / chunk {
        body.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
        body.resize(body.len() + chunk, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// Runs the benchmarks of a file, each long enough for a steady median. Arguments of the command line override this
/// time.
pub(crate) fn run() {
    Divan::default().min_time(Duration::from_millis(300)).config_with_args().main();
}
