//! SDP and JSON, of which a call has a few.

use std::hint::black_box;

use bifrons_api::json::{self, JsonLimits};
use bifrons_wire::sdp::Sdp;
use criterion::Criterion;

const OFFER: &str = include_str!("../../../fuzz/corpus/sdp/chromium-offer.sdp");

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    group.bench_function(format!("parse SDP, Chromium's offer, {} bytes", OFFER.len()), |bencher| {
        bencher.iter(|| Sdp::parse(black_box(OFFER)).expect("an offer"));
    });
    let offer = Sdp::parse(OFFER).expect("an offer");
    group.bench_function("write SDP", |bencher| bencher.iter(|| black_box(&offer).to_string()));

    let request = serde_json::json!({
        "janus": "message", "transaction": "aBcDeFgH", "session_id": 7, "handle_id": 8,
        "body": { "audio": true, "video": true },
        "jsep": { "type": "offer", "sdp": OFFER },
    });
    let request_text = request.to_string();
    let limits = JsonLimits::default();
    group.bench_function(format!("parse JSON, a request of {} bytes", request_text.len()), |bencher| {
        bencher.iter(|| json::parse(black_box(&request_text), &limits).expect("a request"));
    });
    group.bench_function("write JSON", |bencher| bencher.iter(|| black_box(&request).to_string()));
    group.finish();
}
