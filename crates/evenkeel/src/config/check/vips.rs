//! What cannot be right about `vips`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use evenkeel_discovery::source::Source;
use evenkeel_vip::addresses::Addresses;
use evenkeel_vip::config::{Mode, VipConfig};
use evenkeel_vip::hook::HookConfig;

use super::{Config, Step, key};
use crate::vip::listens;

pub(super) fn check(config: &Config, note: &mut impl FnMut(&[Step], String)) {
    let mut names = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut groups: BTreeMap<(Option<&str>, u8), &str> = BTreeMap::new();
    for (index, vip) in config.vips.iter().enumerate() {
        let at = |rest: &[Step]| {
            let mut steps = vec![key("vips"), Step::Index(index)];
            steps.extend_from_slice(rest);
            steps
        };
        if names.insert(&vip.name, index).is_some() {
            note(&at(&[key("name")]), format!("the VIP `{}` stands twice", vip.name));
        }
        for (number, address) in vip.addresses.iter().enumerate() {
            let steps = at(&[key("addresses"), Step::Index(number)]);
            if let Some(other) = addresses.insert(*address, &vip.name) {
                note(&steps, format!("{address} stands twice: it is the VIP `{other}` already"));
            }
            if let Some(why) = unfit(*address) {
                note(&steps, format!("{address} cannot move: it is {why}"));
            }
            if let Some(service) = fronted_by(config, *address) {
                note(
                    &steps,
                    format!(
                        "{address} is an endpoint of the service `{service}`: a VIP is an address of its own, which no server has"
                    ),
                );
            }
        }
        if !config.services.iter().any(|service| listens(service, vip)) {
            let first = vip.addresses.first().map_or_else(String::new, ToString::to_string);
            note(
                &at(&[]),
                format!(
                    "no service listens on the VIP `{}`: write `listen: {{addresses: [\"{first}:6443\"]}}` at one",
                    vip.name
                ),
            );
        }
        if let Mode::Hook(hook) = &vip.mode {
            peers(vip, hook, &at(&[key("mode"), key("hook")]), note);
        }
        if vip.elects() {
            let group = (vip.interface.as_deref(), vip.vrid());
            if let Some(other) = groups.insert(group, &vip.name) {
                note(
                    &at(&[]),
                    format!(
                        "the VIPs `{other}` and `{}` have the same VRID {}: set `mode: {{l2: {{vrid: N}}}}` at one",
                        vip.name,
                        vip.vrid()
                    ),
                );
            }
            if matches!(vip.mode, Mode::L2(_)) {
                subnet(vip, &at(&[]), note);
            }
        }
    }
}

/// Without peers each node would take itself for the owner.
fn peers(vip: &VipConfig, hook: &HookConfig, at: &[Step], note: &mut impl FnMut(&[Step], String)) {
    if hook.peers.is_empty() {
        note(
            at,
            "the nodes must hear each other: name them in `peers: [\"10.0.0.11\", ...]`, all of them on each"
                .to_owned(),
        );
        return;
    }
    let without =
        vip.addresses.iter().find(|a| !hook.peers.iter().any(|p| p.is_ipv4() == a.is_ipv4()));
    if let Some(address) = without {
        note(at, format!("no peer is of the family of {address}, which adverts for it go to"));
    }
}

/// What no address that moves can be.
fn unfit(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() {
        Some("every address")
    } else if address.is_loopback() {
        Some("loopback")
    } else if address.is_multicast() {
        Some("multicast")
    } else if is_broadcast {
        Some("broadcast")
    } else {
        None
    }
}

fn fronted_by(config: &Config, address: IpAddr) -> Option<&str> {
    let names = |source: &Source| match source {
        Source::Static(list) => list.endpoints.iter().any(|endpoint| endpoint.ip() == address),
        Source::EndpointSlice(_) => false,
    };
    let service = config.services.iter().find(|service| service.sources.iter().any(names))?;
    Some(&service.name)
}

/// An address outside of its interface's subnet is never asked for there. Only where the interface
/// is on this host, which need not be the one that the file is for.
fn subnet(vip: &VipConfig, at: &[Step], note: &mut impl FnMut(&[Step], String)) {
    let Some(interface) = &vip.interface else { return };
    let Ok(mut kernel) = Addresses::open() else { return };
    let Ok(Some(link)) = kernel.link(interface) else { return };
    let Ok(primary) = kernel.primary(link.index) else { return };
    for (number, address) in vip.addresses.iter().enumerate() {
        let IpAddr::V4(address) = address else { continue };
        let Some((own, bits)) = primary.ipv4 else { continue };
        let host = 32_u32.saturating_sub(bits.into());
        let differ = address.to_bits() ^ own.to_bits();
        if differ.checked_shr(host).unwrap_or(0) != 0 {
            let mut steps = at.to_vec();
            steps.extend([key("addresses"), Step::Index(number)]);
            note(
                &steps,
                format!(
                    "{address} is not in the subnet of {interface}, {own}/{bits}: nobody asks for it there. Take a free address of that subnet, or `mode: {{route: {{}}}}`"
                ),
            );
        }
        if own == *address {
            let mut steps = at.to_vec();
            steps.extend([key("addresses"), Step::Index(number)]);
            note(&steps, format!("{address} is the address of {interface} itself: it cannot move"));
        }
    }
}
