//! A client and a server joined by memory.

use bytes::Bytes;
use gantry_amqp::connection::{
    Accept, AttachOptions, AttachRequest, ClientSasl, Config, Connection, Delivery, Event, LinkId, SessionId,
};
use gantry_amqp::{Role, Source, Target};

/// Both ends, and what happened at each that no test has looked at yet.
pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    pub(crate) at_client: Vec<Event>,
    pub(crate) at_server: Vec<Event>,
    pub(crate) now: u64,
}

impl Pair {
    /// Both opened.
    pub(crate) fn open() -> Self {
        Self::open_with(Config::client("client", "hub"), Config::server("server"))
    }

    pub(crate) fn open_with(client: Config, server: Config) -> Self {
        let mut pair = Self {
            client: Connection::client(client, ClientSasl::Anonymous, 0),
            server: Connection::server(server, 0),
            at_client: Vec::new(),
            at_server: Vec::new(),
            now: 0,
        };
        pair.run();
        assert!(matches!(pair.at_server.remove(0), Event::Opened(_)));
        assert!(matches!(pair.at_client.remove(0), Event::Opened(_)));
        pair
    }

    /// Moves bytes until both are quiet.
    pub(crate) fn run(&mut self) {
        loop {
            let up = self.client.take_output(self.now);
            let down = self.server.take_output(self.now);
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.server.receive(self.now, &up).unwrap();
            self.client.receive(self.now, &down).unwrap();
            self.at_client.extend(std::iter::from_fn(|| self.client.next_event()));
            self.at_server.extend(std::iter::from_fn(|| self.server.next_event()));
        }
    }

    pub(crate) fn session(&mut self) -> SessionId {
        self.client.begin_session().unwrap()
    }

    /// The client asks for a link; the server's request is returned.
    #[track_caller]
    pub(crate) fn ask(&mut self, session: SessionId, role: Role, credit: u32) -> (LinkId, AttachRequest) {
        let options = AttachOptions { credit, ..AttachOptions::default() };
        let (source, target) = (Source::at("node"), Target::at("node"));
        let link = self.client.attach(session, "link", role, source, target, options).unwrap();
        self.run();
        match self.at_server.remove(0) {
            Event::AttachRequested(request) => (link, *request),
            other => panic!("attach expected, found {other:?}"),
        }
    }

    /// A link both ends agree on: the client's id and the server's.
    #[track_caller]
    pub(crate) fn link(&mut self, role: Role, credit: u32) -> (LinkId, LinkId) {
        let session = self.session();
        let (ours, request) = self.ask(session, role, credit);
        let theirs = request.link;
        self.server.accept_attach(request, Accept { credit, ..Accept::default() });
        self.run();
        assert!(matches!(self.at_client.remove(0), Event::Attached { .. }));
        self.at_client.clear();
        self.at_server.clear();
        (ours, theirs)
    }
}

/// The messages among events, in order.
pub(crate) fn messages(events: &mut Vec<Event>) -> Vec<Delivery> {
    let message = |event| match event {
        Event::Message(delivery) => Some(delivery),
        _ => None,
    };
    events.drain(..).filter_map(message).collect()
}

/// Bytes that show where they are.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}
