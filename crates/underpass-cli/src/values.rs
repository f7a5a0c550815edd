//! The values that arguments parse into. They do not know the commands that use them.

mod address;
pub(crate) mod date;
mod domain_name;
pub(crate) mod duration;
mod file_or_address;
mod format;
mod network;
mod origin;
pub(crate) mod size;
pub(crate) mod socket_access;

pub(crate) use address::{Address, TlsAddress};
pub(crate) use domain_name::DomainName;
pub(crate) use file_or_address::FileOrAddress;
pub(crate) use format::{AccessLogForm, ForwardedHeader, MinTlsVersion, ProxyVersion, ReceiptForm};
pub(crate) use network::Trusted;
pub(crate) use origin::Origin;
pub(crate) use socket_access::SocketAccess;
