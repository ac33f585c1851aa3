//! The words of the first screen and of the glossary, in English and in Indonesian.

/// The language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    En,
    Id,
}

impl Lang {
    pub(crate) const ALL: [Lang; 2] = [Lang::En, Lang::Id];

    /// Returns the name of the page's file without its end.
    pub(crate) fn page(self) -> &'static str {
        match self {
            Lang::En => "index",
            Lang::Id => "index.id",
        }
    }

    pub(crate) fn readme(self) -> &'static str {
        match self {
            Lang::En => "README.md",
            Lang::Id => "README.id.md",
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Id => "id",
        }
    }

    /// Writes a number as the language does. Indonesian has a comma before the decimals.
    pub(crate) fn number(self, text: &str) -> String {
        if self == Lang::En { text.to_owned() } else { text.replace('.', ",") }
    }
}

/// A text in each language.
pub(crate) type Said = [&'static str; 2];

/// Returns the text, with `{}` replaced by the values in order.
pub(crate) fn say(lang: Lang, said: Said, values: &[&str]) -> String {
    let mut parts = said[lang as usize].split("{}");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        text += values.get(i).copied().unwrap_or_default();
        text += part;
    }
    text
}

macro_rules! words {
    ($($name:ident: $en:literal, $id:literal;)*) => {
        $(pub(crate) const $name: Said = [$en, $id];)*
        #[cfg(test)]
        const ALL: &[(&str, Said)] = &[$((stringify!($name), $name)),*];
    };
}

words! {
    TITLE: "Neraca, measured", "Neraca dalam pengukuran";
    RUN: "Plan {} on {} ({} CPUs), {}, commit {}: {} measurements. [How to read this page](#{}).",
        "Rencana {} pada {} ({} CPU), {}, commit {}: {} pengukuran. [Cara membaca halaman ini](#{}).";
    OTHER_LANGUAGE: "[Halaman ini dalam bahasa Indonesia](index.id.html).",
        "[Laporan lengkap dalam bahasa Inggris](index.html).";
    WHICH_ENGINE: "Which engine is faster?", "Mesin mana yang lebih cepat?";
    ENGINES_CAPTION: "Thread against async under `wrk -c 1000`; pairs of numbers are thread / async",
        "Mesin thread dibandingkan dengan mesin async pada `wrk -c 1000`; pasangan angka berarti thread / async";
    SERVERS_CAPTION: "Web servers without a balancer, in requests per second",
        "Server web tanpa penyeimbang beban, dalam permintaan per detik";
    COSTS_CAPTION: "Change of the requests per second when one overhead is added (95 % interval)",
        "Perubahan jumlah permintaan per detik jika satu beban tambahan dipasang (interval 95 %)";
    FASTER: "faster (95 % interval)", "lebih cepat (interval 95 %)";
    RATE: "requests/s", "permintaan/detik";
    FAILED: "failed", "gagal";
    WAITING: "waiting (ms)", "waktu tunggu (ms)";
    TRANSFER: "transfer (KB/s)", "transfer (KB/detik)";
    OVERHEAD: "overhead", "beban tambahan";
    CALLS: "system calls added per request, thread / async", "tambahan panggilan sistem per permintaan, thread / async";
    BY: "**{}**, by {} to {} %", "**{}**, {} sampai {} %";
    WITHIN: "none: any difference is within ±{} %", "tidak ada: selisihnya paling besar ±{} %";
    TOO_FEW: "not known: {} of at least {} pairs", "belum diketahui: {} dari sedikitnya {} pasangan";
    NOT_RANKED: "not ranked: {}", "tidak diperingkat: {}";
    AT: "**At `-t {}`:** {}", "**Pada `-t {}`:** {}";
    AT_FASTER: "the {} engine answers {} to {} % more requests per second than the {} engine. Each of {} blocks measured both \
        engines one after the other; the interval covers 95 %.",
        "mesin {} menjawab {} sampai {} % lebih banyak permintaan per detik daripada mesin {}. Di setiap blok (dari {} blok) kedua \
        mesin diukur bergantian; interval ini mencakup 95 %.";
    AT_WITHIN: "the engines do not differ measurably. Any difference is within ±{} % (95 % interval over {} blocks).",
        "kedua mesin tidak berbeda secara terukur. Selisihnya paling besar ±{} % (interval 95 %, {} blok).";
    AT_TOO_FEW: "no verdict, because {} blocks are too few. At least {} are needed.",
        "belum ada putusan, karena {} blok terlalu sedikit. Diperlukan sedikitnya {} blok.";
    NOISE: "The thread engine against itself differs by up to {} %: no smaller difference matters.",
        "Mesin thread terhadap dirinya sendiri berbeda sampai {} %: selisih yang lebih kecil tidak berarti.";
    NO_ENGINES: "This run has no load of the assignment with both engines.",
        "Pengukuran ini tidak memuat beban tugas untuk kedua mesin.";
    WHICH_SERVER: "Which web server is faster?", "Server web mana yang lebih cepat?";
    WHAT_COSTS: "What does each overhead cost?", "Berapa biaya setiap beban tambahan?";
    NO_MATTER: "does not matter: within ±{} %", "tidak berpengaruh: dalam ±{} %";
    ONE_PAIR: "one pair, no verdict", "satu pasangan, belum ada putusan";
    LOSES: "Where does Neraca lose?", "Di mana Neraca kalah?";
    LOSS: "{} against {}, {}: {} is {} % worse ({} to {} %)", "{} dibandingkan dengan {}, {}: {} lebih buruk {} % ({} sampai {} %)";
    NO_LOSS: "Nowhere beyond the interval, in what was measured.", "Tidak ada yang melampaui interval, pada yang diukur.";
    NO_PEERS: "No other load balancer was measured.", "Tidak ada penyeimbang beban lain yang diukur.";
    ALL_LOSSES: "[All {} losses](#{})", "[Semua {} kekalahan](index.html#{})";
    SUSPECTED: "A loss in a single measurement has no interval; [part 4](#{}) lists those too.",
        "Kekalahan dalam satu pengukuran saja tidak punya interval; [bagian 4](index.html#{}) juga memuatnya.";
    PICTURE: "The experiment", "Percobaannya";
    PICTURE_CAPTION: "client, prober, load balancer and servers; select the picture to see it large",
        "klien, pengamat, penyeimbang beban, dan server; pilih gambar untuk memperbesar";
    GLOSSARY: "Glossary", "Daftar istilah";
    TERM: "term", "istilah";
    MEANING: "meaning", "arti";
    GLOSSARY_CAPTION: "The words of this page", "Kata-kata di halaman ini";
    TRY: "Try it", "Mencobanya";
    KEPT_WAITING: "waiting on kept connections (ms)", "waktu tunggu pada koneksi bertahan (ms)";
    QUICK_START: "make run-thread     # a balancer on the thread engine over three backends, on http://127.0.0.1:8080\n\
        make run-async      # the same on the async engine\nmake test           # every test",
        "make run-thread     # penyeimbang beban dengan mesin thread di depan tiga server, di http://127.0.0.1:8080\n\
        make run-async      # sama, dengan mesin async\nmake test           # semua pengujian";
}

/// The glossary: the term and its meaning, in each language.
pub(crate) const TERMS: [(Said, Said); 16] = [
    (
        ["load balancer", "penyeimbang beban (load balancer)"],
        [
            "accepts the clients' requests and forwards each to one of several servers, the backends",
            "menerima permintaan klien dan meneruskannya ke salah satu dari beberapa server (backend)",
        ],
    ),
    (
        ["engine", "mesin"],
        [
            "the part of Neraca that decides which thread works on which connection",
            "bagian Neraca yang menentukan thread mana mengerjakan koneksi mana",
        ],
    ),
    (
        ["thread engine", "mesin thread"],
        [
            "a fixed pool of threads; each ready connection goes to a free thread",
            "sekumpulan thread tetap; koneksi yang siap dikerjakan oleh thread yang bebas",
        ],
    ),
    (
        ["async engine", "mesin async"],
        [
            "one event loop per core; each connection is a task that stays on its core",
            "satu putaran kejadian (event loop) per inti; setiap koneksi adalah tugas yang menetap di intinya",
        ],
    ),
    (
        ["requests/s", "permintaan/detik"],
        [
            "answered requests per second, counted by the client",
            "permintaan yang dijawab per detik, dihitung oleh klien",
        ],
    ),
    (
        ["failed", "gagal"],
        [
            "requests without a good answer, and connections that were never answered",
            "permintaan tanpa jawaban yang benar, dan koneksi yang tidak pernah dijawab",
        ],
    ),
    (
        ["average latency", "latensi rata-rata"],
        [
            "connections / requests per second: the mean time from a request to its whole answer (Little's law)",
            "koneksi / permintaan per detik: waktu rata-rata dari permintaan sampai jawaban lengkap (hukum Little)",
        ],
    ),
    (
        ["waiting", "waktu tunggu"],
        [
            "time from a sent request to the first byte of the answer, measured by a second client, the prober",
            "waktu dari permintaan dikirim sampai bita pertama jawaban, diukur oleh klien kedua (pengamat)",
        ],
    ),
    (
        ["p99", "p99"],
        ["99 of 100 requests took at most this long", "99 dari 100 permintaan selesai dalam waktu ini"],
    ),
    (
        ["block, pair", "blok, pasangan"],
        [
            "the programs measured one after the other; only results of one block are divided by each other",
            "program-program yang diukur berurutan; hanya hasil dari blok yang sama yang dibandingkan",
        ],
    ),
    (
        ["95 % interval", "interval 95 %"],
        [
            "19 of 20 such intervals contain the true ratio; if it contains no difference, none is claimed",
            "19 dari 20 interval seperti ini memuat rasio sebenarnya; jika memuat nol selisih, selisih tidak dinyatakan",
        ],
    ),
    (
        ["A/A control", "kontrol A/A"],
        [
            "a program compared with itself: what differs here is noise of the machine",
            "program dibandingkan dengan dirinya sendiri: selisih di sini adalah derau komputer",
        ],
    ),
    (
        ["gate, ranked", "gerbang, diperingkat"],
        [
            "a check that a measurement must pass; a measurement that fails one is shown and not ranked",
            "pemeriksaan yang harus dilalui pengukuran; yang gagal tetap ditampilkan tetapi tidak diperingkat",
        ],
    ),
    (
        ["keep-alive", "koneksi bertahan (keep-alive)"],
        [
            "the connection stays open for the next request",
            "koneksi tetap terbuka untuk permintaan berikutnya",
        ],
    ),
    (
        ["system call", "panggilan sistem"],
        [
            "a request of a program to the kernel, such as to read from a socket",
            "permintaan program kepada kernel, misalnya membaca dari soket",
        ],
    ),
    (
        ["flame graph", "grafik api (flame graph)"],
        [
            "where the CPU time goes: a box is a function, its width the share of the time, below it are its callers",
            "ke mana waktu CPU terpakai: kotak adalah fungsi, lebarnya bagian waktu, di bawahnya fungsi pemanggil",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_takes_the_same_values_in_each_language() {
        for (name, [en, id]) in ALL {
            assert_eq!(en.matches("{}").count(), id.matches("{}").count(), "{name}");
            assert!(!id.trim().is_empty(), "{name}");
        }
        assert_eq!(say(Lang::Id, NO_MATTER, &["2,0"]), "tidak berpengaruh: dalam ±2,0 %");
        assert_eq!(Lang::Id.number("1.5"), "1,5");
    }

    /// The README has the same quick start in each language.
    #[test]
    fn the_readme_has_the_quick_start_in_each_language() {
        let readme = include_str!("../../../README.md");
        for line in QUICK_START.iter().flat_map(|text| text.lines()) {
            assert!(readme.contains(&format!("    {line}\n")), "{line}");
        }
    }
}
