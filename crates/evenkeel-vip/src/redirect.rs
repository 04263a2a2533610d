//! `VIP:port` reaches a listener on `VIP:other port`: for ports that another process has bound on all
//! addresses of the host, as kube-apiserver binds 6443.
//!
//! ```text
//! table inet evenkeel_<name> {           flags owner
//!   chain prerouting { type nat hook prerouting priority -101; }    what arrives
//!   chain output     { type nat hook output priority -101; }      what the host itself sends
//!                      each with, for every mapping:
//!       ip daddr 10.0.0.100 tcp dport 6443 fib daddr type local dnat ip to 10.0.0.100:16443
//! }
//! ```
//!
//! Only while the address is on this host (`fib daddr type local`): before, and when its lifetime
//! has run out, the host's own clients go to the real owner. Only `VIP:port`: with any other address
//! of the host the other process is reached.
//!
//! The kernel removes the table when the socket closes (`NFT_TABLE_F_OWNER`, Linux 5.12): however
//! the process ends, it leaves nothing. Nobody else can change it; `nft flush ruleset` leaves it.
//!
//! One priority ahead of the usual -100: port mappings of containers, which often match every
//! address of the host, do not get there first.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;

use crate::netlink::{ACK, Builder, Message, Netlink, attributes, libc_flags};

/// Why connections are not redirected.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The process may not.
    #[error("redirecting a port needs the capability CAP_NET_ADMIN")]
    Capability(#[source] io::Error),
    /// The kernel cannot.
    #[error(
        "redirecting a port needs Linux 5.12 or newer with nf_tables, nft_chain_nat, nft_nat and \
             nft_fib_inet: load these modules, or let the other process listen on its own address"
    )]
    Unsupported(#[source] io::Error),
    /// Another process has a table of this name.
    #[error(
        "the nftables table inet {table} belongs to another process: is evenkeel running twice?"
    )]
    Taken {
        /// Its name.
        table: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel refused for another reason.
    #[error("the kernel refused to redirect a port")]
    Refused(#[source] io::Error),
}

/// One redirected port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where clients connect to.
    pub address: IpAddr,
    /// The port they connect to.
    pub port: u16,
    /// The port of the same address that they reach.
    pub to: u16,
}

/// A table of redirected ports, which lives as long as this. Dropped, it is gone.
///
/// Whoever drops it closes the connections first: without the table, those still open may reach
/// the other process, which resets them.
#[derive(Debug)]
pub struct Redirect {
    netlink: Netlink,
    table: String,
    mappings: usize,
}

impl Redirect {
    /// Opens the socket that will own the table `evenkeel_<name>`; nothing is redirected yet.
    ///
    /// # Errors
    /// If the kernel has no netfilter.
    pub fn open(name: &str) -> Result<Self, RedirectError> {
        // What nft(8) reads as a name, so that people can list it.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
        let name: String = name.chars().take(LONGEST_NAME).map(plain).collect();
        let netlink = Netlink::open(Some(NETFILTER)).map_err(RedirectError::Unsupported)?;
        Ok(Self { netlink, table: format!("evenkeel_{name}"), mappings: 0 })
    }

    /// Redirects these ports and no others. All at once, or it stays as it was.
    ///
    /// # Errors
    /// If the kernel refuses; see [`RedirectError`].
    pub fn install(&mut self, mappings: &[Mapping]) -> Result<(), RedirectError> {
        self.rewrite(|batch, table| write_table(batch, table, mappings))?;
        self.mappings = mappings.len();
        Ok(())
    }

    /// Redirects nothing more.
    ///
    /// # Errors
    /// If the kernel refuses; see [`RedirectError`].
    pub fn remove(&mut self) -> Result<(), RedirectError> {
        self.rewrite(|_batch, _table| {})
    }

    /// Removes the table, if there is one, and writes what takes its place: one transaction.
    fn rewrite(&mut self, write: impl FnOnce(&mut Builder, &str)) -> Result<(), RedirectError> {
        let owner = self.owner().map_err(|error| self.explain(error, None))?;
        let Self { netlink, table, .. } = self;
        let written = netlink.transact(
            |batch| {
                batch.message(BEGIN, 0, &NFTABLES, |_| {});
                if owner.is_some() {
                    change(batch, libc::NFT_MSG_DELTABLE, |message| {
                        message.text(NFTA_TABLE_NAME, table);
                    });
                }
                write(batch, table);
                batch.message(END, 0, &NFTABLES, |_| {});
            },
            |_message| {},
        );
        written.map_err(|error| self.explain(error, owner))
    }

    /// Whether the table is there, and is ours, and has its rules.
    ///
    /// # Errors
    /// If the kernel refuses to say.
    pub fn present(&mut self) -> io::Result<bool> {
        let port = self.netlink.port()?;
        if self.owner()? != Some(port) {
            return Ok(false);
        }
        let table = self.table.as_str();
        let chains = self.netlink.dump(
            kind(libc::NFT_MSG_GETRULE),
            &INET,
            |message| message.text(NFTA_RULE_TABLE, table),
            |message| read_chain(message, table),
        )?;
        Ok((0..HOOKS.len())
            .all(|hook| chains.iter().filter(|chain| **chain == hook).count() == self.mappings))
    }

    /// The socket that owns the table, zero if none does; `None` if there is no table.
    fn owner(&mut self) -> io::Result<Option<u32>> {
        let table = self.table.as_str();
        let mut owner = 0;
        let asked = self.netlink.request(
            kind(libc::NFT_MSG_GETTABLE),
            0,
            &INET,
            |message| message.text(NFTA_TABLE_NAME, table),
            |message| {
                let mut attributes = attributes(message.body.get(INET.len()..).unwrap_or_default());
                let number = attributes.find(|(kind, _)| *kind == NFTA_TABLE_OWNER);
                let number = number.and_then(|(_, value)| value.first_chunk());
                owner = number.map_or(0, |number| u32::from_be_bytes(*number));
            },
        );
        match asked {
            Ok(()) => Ok(Some(owner)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn explain(&self, source: io::Error, owner: Option<u32>) -> RedirectError {
        match Errno::from_io_error(&source) {
            // Whoever may ask for the table may change it, unless it has an owner.
            Some(Errno::PERM) if owner.is_some_and(|owner| owner != 0) => {
                RedirectError::Taken { table: self.table.clone(), source }
            }
            Some(Errno::PERM) => RedirectError::Capability(source),
            // No nf_tables; no chains of NAT or no such expression; no family; an unknown flag.
            Some(
                Errno::OPNOTSUPP
                | Errno::NOENT
                | Errno::AFNOSUPPORT
                | Errno::INVAL
                | Errno::PROTONOSUPPORT,
            ) => RedirectError::Unsupported(source),
            Some(_) | None => RedirectError::Refused(source),
        }
    }
}

impl Drop for Redirect {
    /// Closing the socket removes the table, too, but not before every copy of it is closed: a child
    /// process has one until it becomes another program.
    fn drop(&mut self) {
        drop(self.remove());
    }
}

/// A message that changes something, within a batch.
fn change(batch: &mut Builder, message: libc::c_int, fill: impl FnOnce(&mut Builder)) {
    let flags = libc_flags(libc::NLM_F_CREATE | libc::NLM_F_APPEND) | ACK;
    batch.message(kind(message), flags, &INET, fill);
}

fn write_table(batch: &mut Builder, table: &str, mappings: &[Mapping]) {
    change(batch, libc::NFT_MSG_NEWTABLE, |message| {
        message.text(NFTA_TABLE_NAME, table);
        message.attribute(NFTA_TABLE_FLAGS, &NFT_TABLE_F_OWNER.to_be_bytes());
    });
    for (hook, name) in HOOKS {
        change(batch, libc::NFT_MSG_NEWCHAIN, |message| {
            message.text(NFTA_CHAIN_TABLE, table);
            message.text(NFTA_CHAIN_NAME, name);
            message.nest(NFTA_CHAIN_HOOK, |message| {
                message.attribute(NFTA_HOOK_HOOKNUM, &hook.to_be_bytes());
                message.attribute(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes());
            });
            message.text(NFTA_CHAIN_TYPE, "nat");
        });
        for mapping in mappings {
            change(batch, libc::NFT_MSG_NEWRULE, |message| {
                message.text(NFTA_RULE_TABLE, table);
                message.text(NFTA_RULE_CHAIN, name);
                message.nest(NFTA_RULE_EXPRESSIONS, |rule| write_rule(rule, mapping));
            });
        }
    }
}

/// `ip daddr A tcp dport P fib daddr type local dnat ip to A:Q`, and the same of IPv6.
fn write_rule(rule: &mut Builder, mapping: &Mapping) {
    let port = mapping.port.to_be_bytes();
    match mapping.address {
        IpAddr::V4(address) => write_rule_of(rule, IPV4, &address.octets(), port, mapping.to),
        IpAddr::V6(address) => write_rule_of(rule, IPV6, &address.octets(), port, mapping.to),
    }
}

fn write_rule_of(rule: &mut Builder, family: Family, address: &[u8], port: [u8; 2], to: u16) {
    let length = u32::try_from(address.len()).unwrap_or_default();
    meta(rule, NFT_META_NFPROTO);
    compare(rule, &[family.number]);
    meta(rule, NFT_META_L4PROTO);
    compare(rule, &[TCP]);
    payload(rule, libc::NFT_PAYLOAD_NETWORK_HEADER, family.destination, length);
    compare(rule, address);
    payload(rule, libc::NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, 2);
    compare(rule, &port);
    expression(rule, "fib", |fib| {
        register(fib, NFTA_FIB_DREG, REGISTER_1);
        fib.attribute(NFTA_FIB_RESULT, &NFT_FIB_RESULT_ADDRTYPE.to_be_bytes());
        fib.attribute(NFTA_FIB_FLAGS, &NFTA_FIB_F_DADDR.to_be_bytes());
    });
    // This one number is as the host counts, not as the network does.
    compare(rule, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
    immediate(rule, REGISTER_1, address);
    immediate(rule, REGISTER_2, &to.to_be_bytes());
    expression(rule, "nat", |nat| {
        nat.attribute(NFTA_NAT_TYPE, &NFT_NAT_DNAT.to_be_bytes());
        nat.attribute(NFTA_NAT_FAMILY, &u32::from(family.number).to_be_bytes());
        register(nat, NFTA_NAT_REG_ADDR_MIN, REGISTER_1);
        register(nat, NFTA_NAT_REG_PROTO_MIN, REGISTER_2);
    });
}

fn meta(rule: &mut Builder, key: u32) {
    expression(rule, "meta", |meta| {
        register(meta, NFTA_META_DREG, REGISTER_1);
        meta.attribute(NFTA_META_KEY, &key.to_be_bytes());
    });
}

fn payload(rule: &mut Builder, base: libc::c_int, offset: u32, length: u32) {
    expression(rule, "payload", |payload| {
        register(payload, NFTA_PAYLOAD_DREG, REGISTER_1);
        payload.attribute(NFTA_PAYLOAD_BASE, &base.to_be_bytes());
        payload.attribute(NFTA_PAYLOAD_OFFSET, &offset.to_be_bytes());
        payload.attribute(NFTA_PAYLOAD_LEN, &length.to_be_bytes());
    });
}

/// Goes on with the rule if the first register is `value`.
fn compare(rule: &mut Builder, value: &[u8]) {
    expression(rule, "cmp", |cmp| {
        register(cmp, NFTA_CMP_SREG, REGISTER_1);
        cmp.attribute(NFTA_CMP_OP, &libc::NFT_CMP_EQ.to_be_bytes());
        cmp.nest(NFTA_CMP_DATA, |data| data.attribute(NFTA_DATA_VALUE, value));
    });
}

fn immediate(rule: &mut Builder, to: u32, value: &[u8]) {
    expression(rule, "immediate", |immediate| {
        register(immediate, NFTA_IMMEDIATE_DREG, to);
        immediate.nest(NFTA_IMMEDIATE_DATA, |data| data.attribute(NFTA_DATA_VALUE, value));
    });
}

fn expression(rule: &mut Builder, name: &str, fill: impl FnOnce(&mut Builder)) {
    rule.nest(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name);
        element.nest(NFTA_EXPR_DATA, fill);
    });
}

fn register(expression: &mut Builder, attribute: u16, register: u32) {
    expression.attribute(attribute, &register.to_be_bytes());
}

/// Which of [`HOOKS`] a rule of our table belongs to.
fn read_chain(message: &Message<'_>, table: &str) -> Option<usize> {
    if message.kind != kind(libc::NFT_MSG_NEWRULE) {
        return None;
    }
    let is = |value: &[u8], text: &str| value.strip_suffix(&[0]) == Some(text.as_bytes());
    let (mut ours, mut hook) = (false, None);
    for (kind, value) in attributes(message.body.get(INET.len()..)?) {
        match kind {
            NFTA_RULE_TABLE => ours = is(value, table),
            NFTA_RULE_CHAIN => hook = HOOKS.iter().position(|(_, name)| is(value, name)),
            _ => {}
        }
    }
    hook.filter(|_| ours)
}

/// The kind of a message of nftables.
const fn kind(message: libc::c_int) -> u16 {
    libc_flags(libc::NFNL_SUBSYS_NFTABLES << 8 | message)
}

/// What differs between IPv4 and IPv6.
#[derive(Clone, Copy)]
struct Family {
    /// Its number in netfilter (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
    number: u8,
    /// Where the destination is in the header.
    destination: u32,
}

const IPV4: Family = Family { number: 2, destination: 16 };
const IPV6: Family = Family { number: 10, destination: 24 };

/// Where the destination is in the header of TCP.
const DESTINATION_PORT: u32 = 2;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// The hooks, and the names of their chains.
const HOOKS: [(libc::c_int, &str); 2] =
    [(libc::NF_INET_PRE_ROUTING, "prerouting"), (libc::NF_INET_LOCAL_OUT, "output")];

/// One ahead of `NF_IP_PRI_NAT_DST`.
const PRIORITY: i32 = -101;

/// The kernel allows 255 bytes, with the prefix.
const LONGEST_NAME: usize = 200;

/// `struct nfgenmsg`: the family `inet`, which is both.
const INET: [u8; 4] = [1, 0, 0, 0];

/// `struct nfgenmsg` of the frame of a batch: no family, and whose batch it is.
const NFTABLES: [u8; 4] = [0, 0, 0, 10];

const BEGIN: u16 = libc_flags(libc::NFNL_MSG_BATCH_BEGIN);
const END: u16 = libc_flags(libc::NFNL_MSG_BATCH_END);

const REGISTER_1: u32 = libc::NFT_REG_1.cast_unsigned();
const REGISTER_2: u32 = libc::NFT_REG_2.cast_unsigned();

// Of linux/netfilter/nf_tables.h; libc does not have them. Numbers are big-endian on the wire.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_OWNER: u16 = 7;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFT_NAT_DNAT: u32 = 1;
