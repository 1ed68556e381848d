//! The machine that skep runs on.

/// Docker and Podman leave a file; ECS and Kubernetes set variables.
pub(super) fn in_container() -> bool {
    let files = ["/.dockerenv", "/run/.containerenv"];
    let variables = ["ECS_CONTAINER_METADATA_URI_V4", "KUBERNETES_SERVICE_HOST", "container"];
    files.into_iter().any(|file| std::path::Path::new(file).exists())
        || variables.into_iter().any(|name| std::env::var_os(name).is_some())
}
