//! Headers of packets, and the answer to a connectivity check.

use std::hint::black_box;
use std::net::SocketAddr;

use bifrons_rtc::Time;
use bifrons_rtc::ice::{
    AddressPolicy, Agent, AgentConfig, ConsentLoss, LocalCandidate, Role, SeededRandom, Timers,
    TransactionIds,
};
use bifrons_wire::rtcp::{Compound, NtpTime, SenderInfo, Writer as RtcpWriter};
use bifrons_wire::rtp::Packet;
use bifrons_wire::stun::{BINDING, Class, IntegrityKey, Message, Writer};
use criterion::Criterion;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    let mut rtp = [0x55; 200];
    // One extension block (mid and transport sequence number), as browsers send it.
    rtp[..12].copy_from_slice(&[0x90, 111, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7]);
    rtp[12..24].copy_from_slice(&[0xbe, 0xde, 0, 2, 0x40, b'0', 0x51, 1, 2, 0, 0, 0]);
    group.bench_function("parse RTP, mid extension", |bencher| {
        bencher.iter(|| {
            let packet = Packet::parse(black_box(&rtp[..])).expect("a packet");
            (packet.header().sequence, packet.extension(4).map(<[u8]>::len), packet.payload().len())
        });
    });

    let mut buffer = [0; 200];
    let mut writer = RtcpWriter::new(&mut buffer);
    let info =
        SenderInfo { ntp: NtpTime::from_unix_nanos(1), rtp_timestamp: 1, packet_count: 2, octet_count: 3 };
    writer.sender_report(1, &info, &[]).expect("room");
    writer.sdes_cname(1, "someone@example").expect("room");
    writer.nack(1, 2, [7, 9, 40]).expect("room");
    let compound = writer.bytes().to_vec();
    group.bench_function("parse RTCP, report with NACK", |bencher| {
        bencher.iter(|| Compound::new(black_box(&compound)).filter(Result::is_ok).count());
    });

    let address: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
    let source: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
    let config = AgentConfig {
        role: Role::Controlled,
        lite: false,
        token: 1,
        tie_breaker: 1,
        local: vec![LocalCandidate { socket: 0, address, advertised: None }],
        transaction_ids: TransactionIds::new([1, 2]),
        policy: AddressPolicy { loopback: true, private: true },
        consent_loss: ConsentLoss::Fail,
        timers: Timers::default(),
    };
    let mut agent = Agent::new(config, &mut SeededRandom::new(1));
    let local = agent.local_credentials();
    let key = IntegrityKey::short_term(local.password().as_bytes());
    let mut buffer = [0; 200];
    let mut writer = Writer::new(&mut buffer, Class::Request, BINDING, [7; 12]);
    writer.username(&[local.ufrag().as_bytes(), b":peer"]).priority(1).ice_controlling(9);
    let len = writer.integrity(&key).fingerprint().finish().expect("room");
    let check = &buffer[..len];
    let mut answer = |check: &[u8]| {
        let message = Message::parse(check).expect("a message");
        let mut answers = 0;
        let mut out =
            |_: u8, _: SocketAddr, bytes: &[u8]| answers += usize::from(black_box(bytes).len() > 20);
        agent.handle_stun(Time::ZERO, 0, source, &message, &mut out);
        answers
    };
    assert_eq!(answer(check), 1);
    group.bench_function("answer a STUN check", |bencher| bencher.iter(|| answer(black_box(check))));
    group.finish();
}
