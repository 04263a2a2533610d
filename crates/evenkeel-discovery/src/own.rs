//! Which addresses are ours, so that discovery cannot make us balance onto ourselves: k0s with
//! `externalAddress`, for one, lists the load balancer as the only API server.

use std::net::{IpAddr, SocketAddr};

/// Every address at which our listeners are reached. A listener on `0.0.0.0` or `[::]` is reached
/// at each of the host's addresses; `local` has these, VIPs included.
pub fn own_addresses(listeners: &[SocketAddr], local: &[IpAddr]) -> Vec<SocketAddr> {
    let mut own = Vec::new();
    for listener in listeners {
        if listener.ip().is_unspecified() {
            // `[::]` also takes IPv4, unless the host says otherwise: excluding too much only
            // costs a member that would be ourselves.
            let reached = |ip: &&IpAddr| listener.is_ipv6() || ip.is_ipv4();
            own.extend(
                local.iter().filter(reached).map(|ip| SocketAddr::new(*ip, listener.port())),
            );
        } else {
            own.push(*listener);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_each_of_them() {
        let local: Vec<IpAddr> =
            ["10.0.0.5", "fd00::5"].iter().map(|ip| ip.parse().unwrap()).collect();
        let own = |listener: &str| -> Vec<String> {
            let own = own_addresses(&[listener.parse().unwrap()], &local);
            own.iter().map(SocketAddr::to_string).collect()
        };
        assert_eq!(own("0.0.0.0:6443"), ["10.0.0.5:6443"]);
        assert_eq!(own("[::]:6443"), ["10.0.0.5:6443", "[fd00::5]:6443"]);
        assert_eq!(own("10.0.0.10:8443"), ["10.0.0.10:8443"]);
    }
}
