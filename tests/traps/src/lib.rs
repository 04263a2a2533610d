//! What a TCP proxy gets wrong.
