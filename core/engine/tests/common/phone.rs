//! A telephone on a plain RTP leg.

use std::net::SocketAddr;

use bifrons_engine::media::*;
use bifrons_engine::{LegId, Media};

use super::world::World;

/// A telephone: where it is, its leg, and the leg's port.
pub struct Phone {
    pub address: SocketAddr,
    pub leg: LegId,
    pub port: SocketAddr,
}

impl Phone {
    /// Opens a leg for telephone `number`, with RTP and RTCP on one port.
    pub fn open(
        world: &mut World,
        number: u16,
        near: Option<LegId>,
        config: StreamConfig,
    ) -> Result<Self, MediaError> {
        let address = SocketAddr::from(([10, 0, 2, 1], 10_000 + 2 * number));
        let open = RtpOpen { near, rtcp_mux: true, ..RtpOpen::default() };
        let local = world.sim.engine.open_rtp_leg(open)?;
        world.bind_plain(address);
        world.sim.engine.set_rtp_remote(local.leg, RtpRemote::muxed(address)).unwrap();
        world.sim.engine.set_streams(local.leg, vec![config]).unwrap();
        Ok(Self { address, leg: local.leg, port: local.rtp })
    }

    /// Its one m-line.
    pub fn stream(&self) -> StreamRef {
        StreamRef { leg: self.leg, mline: 0 }
    }

    pub fn send(&self, world: &World, packet: &[u8]) {
        world.network.send(self.address, self.port, packet);
    }
}
