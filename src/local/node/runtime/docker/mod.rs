//! stub
use super::*;
#[derive(Clone, Debug)]
pub struct DockerLog;
impl DockerLog {
    pub async fn read(&self, _c: &str, _o: LogOptions) -> Result<LogStream, LogError> {
        Err(LogError::NodeUnreachable { node: String::new() })
    }
    pub async fn tail(&self, _l: u64, _n: usize) -> Vec<u8> {
        Vec::new()
    }
}
#[derive(Clone, Debug)]
pub struct DockerRuntime;
impl DockerRuntime {
    pub fn version(&self) -> String {
        String::new()
    }
    pub async fn connect(_h: Option<&str>, _n: &str, _f: &std::path::Path) -> Result<Self, RuntimeError> {
        Err(RuntimeError::NoEngine { tried: String::new() })
    }
    pub async fn clean_leftovers(&self) -> Result<usize, RuntimeError> {
        Ok(0)
    }
    pub async fn ensure_image(&self, _c: &ContainerConfig) -> Result<ImageOutcome, StartFailure> {
        Ok(ImageOutcome::NotNeeded)
    }
    pub async fn start(&self, _c: ContainerConfig) -> Result<Started, StartFailure> {
        Err(StartFailure::Create(String::new()))
    }
    pub async fn signal(&self, _id: &str, _s: StopSignal) {}
    pub async fn remove_pod(&self, _p: &PodKey) {}
    pub async fn kill_all(&self) {}
}
