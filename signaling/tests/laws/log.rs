//! The log of the whole test process, at its most talkative, for whoever looks for what must not be in it.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use tracing_subscriber::fmt::MakeWriter;

static SINK: OnceLock<Sink> = OnceLock::new();

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Begins to listen, for the whole process: a subscriber of one thread loses call sites that another test reached first without one.
/// What the other tests log is heard as well.
pub(crate) fn listen() {
    SINK.get_or_init(|| {
        let sink = Sink::default();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(sink.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        sink
    });
}

/// Everything that was logged since.
pub(crate) fn heard() -> String {
    String::from_utf8(SINK.get().expect("somebody listens").0.lock().unwrap().clone()).unwrap()
}
