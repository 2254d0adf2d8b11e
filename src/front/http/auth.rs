//! Who may ask for what (threat model T6 to T8).

use secrecy::SecretString;

/// What is asked of clients.
#[derive(Debug, Clone, Default)]
pub enum Config {
    /// Nothing: whoever reaches the port is served.
    #[default]
    Open,
    /// The proxy's own API key, for everything but what is public.
    Key(SecretString),
    /// A key of the client's own, which selects its workspace.
    PerClient,
}
