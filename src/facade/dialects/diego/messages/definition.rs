//! What a task is and needs (`task.proto` and the messages of its fields).

use std::collections::BTreeMap;

use prost::Message;

use super::{Action, EnvironmentVariable, File};

/// What a task is and needs.
#[derive(Clone, PartialEq, Message)]
pub struct TaskDefinition {
    #[prost(string, tag = "1")]
    pub root_fs: String,
    #[prost(message, repeated, tag = "2")]
    pub environment_variables: Vec<EnvironmentVariable>,
    #[prost(message, optional, tag = "3")]
    pub action: Option<Action>,
    #[prost(int32, tag = "4")]
    pub disk_mb: i32,
    #[prost(int32, tag = "5")]
    pub memory_mb: i32,
    #[prost(uint32, tag = "6")]
    pub cpu_weight: u32,
    #[prost(bool, tag = "7")]
    pub privileged: bool,
    #[prost(string, tag = "8")]
    pub log_source: String,
    #[prost(string, tag = "9")]
    pub log_guid: String,
    #[prost(string, tag = "10")]
    pub metrics_guid: String,
    #[prost(string, tag = "11")]
    pub result_file: String,
    #[prost(string, tag = "12")]
    pub completion_callback_url: String,
    #[prost(string, tag = "13")]
    pub annotation: String,
    #[prost(message, repeated, tag = "14")]
    pub egress_rules: Vec<SecurityGroupRule>,
    #[prost(message, repeated, tag = "15")]
    pub cached_dependencies: Vec<CachedDependency>,
    #[prost(string, tag = "16")]
    pub legacy_download_user: String,
    #[prost(string, tag = "17")]
    pub trusted_system_certificates_path: String,
    #[prost(message, repeated, tag = "18")]
    pub volume_mounts: Vec<VolumeMount>,
    #[prost(message, optional, tag = "19")]
    pub network: Option<Network>,
    #[prost(string, repeated, tag = "20")]
    pub placement_tags: Vec<String>,
    #[prost(int32, tag = "21")]
    pub max_pids: i32,
    #[prost(message, optional, tag = "22")]
    pub certificate_properties: Option<CertificateProperties>,
    #[prost(string, tag = "23")]
    pub image_username: String,
    #[prost(string, tag = "24")]
    pub image_password: String,
    #[prost(message, repeated, tag = "25")]
    pub image_layers: Vec<ImageLayer>,
    #[prost(message, optional, tag = "26")]
    pub log_rate_limit: Option<LogRateLimit>,
    #[prost(btree_map = "string, message", tag = "27")]
    pub metric_tags: BTreeMap<String, MetricTagValue>,
    #[prost(message, repeated, tag = "28")]
    pub volume_mounted_files: Vec<File>,
}

/// Where the task may connect to.
#[derive(Clone, PartialEq, Message)]
pub struct SecurityGroupRule {
    #[prost(string, tag = "1")]
    pub protocol: String,
    #[prost(string, repeated, tag = "2")]
    pub destinations: Vec<String>,
    // The real server writes them one by one; packed ones are read too.
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub ports: Vec<u32>,
    #[prost(message, optional, tag = "4")]
    pub port_range: Option<PortRange>,
    #[prost(message, optional, tag = "5")]
    pub icmp_info: Option<IcmpInfo>,
    #[prost(bool, tag = "6")]
    pub log: bool,
    #[prost(string, repeated, tag = "7")]
    pub annotations: Vec<String>,
}

/// Ports, both ends included.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct PortRange {
    #[prost(uint32, tag = "1")]
    pub start: u32,
    #[prost(uint32, tag = "2")]
    pub end: u32,
}

/// Kinds of ICMP messages; -1 is any.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct IcmpInfo {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(int32, tag = "2")]
    pub code: i32,
}

/// An archive that many tasks share.
#[derive(Clone, PartialEq, Message)]
pub struct CachedDependency {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub to: String,
    #[prost(string, tag = "4")]
    pub cache_key: String,
    #[prost(string, tag = "5")]
    pub log_source: String,
    #[prost(string, tag = "6")]
    pub checksum_algorithm: String,
    #[prost(string, tag = "7")]
    pub checksum_value: String,
}

/// An archive that is part of the task's file system.
#[derive(Clone, PartialEq, Message)]
pub struct ImageLayer {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub url: String,
    #[prost(string, tag = "3")]
    pub destination_path: String,
    #[prost(enumeration = "LayerType", tag = "4")]
    pub layer_type: i32,
    #[prost(enumeration = "MediaType", tag = "5")]
    pub media_type: i32,
    #[prost(enumeration = "DigestAlgorithm", tag = "6")]
    pub digest_algorithm: i32,
    #[prost(string, tag = "7")]
    pub digest_value: String,
}

impl ImageLayer {
    /// `sha256`, `sha512`, or empty where the layer names none.
    pub fn algorithm(&self) -> &'static str {
        match DigestAlgorithm::try_from(self.digest_algorithm) {
            Ok(DigestAlgorithm::Sha256) => "sha256",
            Ok(DigestAlgorithm::Sha512) => "sha512",
            Ok(DigestAlgorithm::Invalid) | Err(_) => "",
        }
    }
}

/// Who shares a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LayerType {
    Invalid = 0,
    Shared = 1,
    Exclusive = 2,
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MediaType {
    Invalid = 0,
    Tgz = 1,
    Tar = 2,
    Zip = 3,
}

/// What a layer's digest is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DigestAlgorithm {
    Invalid = 0,
    Sha256 = 1,
    Sha512 = 2,
}

/// A volume of some driver.
#[derive(Clone, PartialEq, Message)]
pub struct VolumeMount {
    #[prost(string, tag = "1")]
    pub driver: String,
    #[prost(string, tag = "3")]
    pub container_dir: String,
    #[prost(string, tag = "6")]
    pub mode: String,
    #[prost(message, optional, tag = "7")]
    pub shared: Option<SharedDevice>,
}

/// A volume that several containers may have.
#[derive(Clone, PartialEq, Message)]
pub struct SharedDevice {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub mount_config: String,
}

/// Properties of the task's network.
#[derive(Clone, PartialEq, Message)]
pub struct Network {
    #[prost(btree_map = "string, string", tag = "1")]
    pub properties: BTreeMap<String, String>,
}

/// What the task's certificate says.
#[derive(Clone, PartialEq, Message)]
pub struct CertificateProperties {
    #[prost(string, repeated, tag = "1")]
    pub organizational_unit: Vec<String>,
}

/// Bytes of log each second; -1 is no limit.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LogRateLimit {
    #[prost(int64, tag = "1")]
    pub bytes_per_second: i64,
}

/// The value of a tag on metrics.
#[derive(Clone, PartialEq, Message)]
pub struct MetricTagValue {
    #[prost(string, tag = "1")]
    pub static_: String,
    #[prost(int32, tag = "2")]
    pub dynamic: i32,
}
