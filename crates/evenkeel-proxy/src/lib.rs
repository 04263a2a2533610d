//! evenkeel-proxy
