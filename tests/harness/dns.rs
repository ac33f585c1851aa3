//! A DNS server whose answers the test changes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;

/// The server, on UDP and TCP. It lives as long as the process. Its records have a TTL of 1 s, the shortest that counts.
#[derive(Debug, Clone)]
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Debug, Default)]
struct Zone {
    /// The records by their names in lower case, with a dot at the end.
    records: BTreeMap<String, Vec<RData>>,
    /// The answer over UDP says only that TCP has the answer.
    only_tcp: bool,
    /// The questions with each name so far.
    asked: BTreeMap<String, u32>,
}

impl Dns {
    pub(crate) fn start() -> Self {
        // Now and then another socket has the port of one of the two.
        let (udp, tcp) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
            .find_map(|udp| TcpListener::bind(udp.local_addr().unwrap()).ok().map(|tcp| (udp, tcp)))
            .unwrap();
        let dns = Dns { address: udp.local_addr().unwrap(), zone: Arc::default() };
        let (of_udp, of_tcp) = (dns.clone(), dns.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok((n, client)) = udp.recv_from(&mut bytes) {
                let answer = of_udp.answer(&bytes[..n], true);
                udp.send_to(&answer, client).unwrap();
            }
        });
        thread::spawn(move || {
            while let Ok((client, _)) = tcp.accept() {
                let dns = of_tcp.clone();
                thread::spawn(move || dns.serve(client));
            }
        });
        dns
    }

    /// Answers one client over TCP until it leaves.
    fn serve(&self, mut client: TcpStream) {
        let mut length = [0; 2];
        while client.read_exact(&mut length).is_ok() {
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            client.read_exact(&mut question).unwrap();
            let answer = self.answer(&question, false);
            let message = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
            if client.write_all(&message).is_err() {
                return;
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name these addresses, and no other records.
    pub(crate) fn set(&self, name: &str, addresses: &[IpAddr]) {
        let records = addresses.iter().map(|&address| RData::from(address)).collect();
        self.zone.lock().records.insert(format!("{name}."), records);
    }

    /// Gives a name these SRV records: priority, weight, port and target.
    pub(crate) fn set_service(&self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let record = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(format!("{target}.")).unwrap()))
        };
        self.zone.lock().records.insert(format!("{name}."), records.iter().map(record).collect());
    }

    /// Removes a name. Then the answer is that the name does not exist.
    pub(crate) fn remove(&self, name: &str) {
        self.zone.lock().records.remove(&format!("{name}."));
    }

    pub(crate) fn answer_only_over_tcp(&self) {
        self.zone.lock().only_tcp = true;
    }

    /// The number of questions with this name so far.
    pub(crate) fn asked(&self, name: &str) -> u32 {
        self.zone.lock().asked.get(&format!("{name}.")).copied().unwrap_or(0)
    }

    fn answer(&self, question: &[u8], is_udp: bool) -> Vec<u8> {
        let question = Message::from_vec(question).unwrap();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        let mut zone = self.zone.lock();
        for query in &question.queries {
            let name = query.name().to_ascii().to_ascii_lowercase();
            *zone.asked.entry(name.clone()).or_default() += 1;
            answer.add_query(query.clone());
            match zone.records.get(&name) {
                None => answer.metadata.response_code = ResponseCode::NXDomain,
                Some(_) if zone.only_tcp && is_udp => answer.metadata.truncation = true,
                Some(records) => {
                    let asked = records.iter().filter(|one| one.record_type() == query.query_type());
                    for data in asked {
                        answer.add_answer(Record::from_rdata(query.name().clone(), 1, data.clone()));
                    }
                }
            }
        }
        answer.to_vec().unwrap()
    }
}
