//! The least that an HTTP server in the middle costs: it reads each request and each answer as HTTP, moves the bodies, and keeps its connections.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, LocalSet};

type Connection = client::SendRequest<Full<Bytes>>;

/// A host, and the connections to it that nobody uses at the moment.
struct Host {
    address: String,
    idle: RefCell<Vec<Connection>>,
}

/// Serves a free port before each host until standard input ends. Prints `127.0.0.1:PORT` of each, a line each.
pub(crate) fn serve(hosts: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        for host in hosts {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            writeln!(io::stdout(), "{}", listener.local_addr()?)?;
            task::spawn_local(listen(listener, Rc::new(Host { address: host.clone(), idle: RefCell::default() })));
        }
        task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

async fn listen(listener: TcpListener, host: Rc<Host>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let host = Rc::clone(&host);
        let service = service_fn(move |request| forward(Rc::clone(&host), request));
        task::spawn_local(server::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(host: Rc<Host>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::CONTENT_LENGTH); // hyper writes its own
    let body = Full::new(body.collect().await?.to_bytes());
    let mut connection = host.connection().await?;
    let (mut answer, body) = connection.send_request(Request::from_parts(head, body)).await?.into_parts();
    answer.headers.remove(header::CONTENT_LENGTH);
    answer.headers.remove(header::TRANSFER_ENCODING);
    let body = Full::new(body.collect().await?.to_bytes());
    host.idle.borrow_mut().push(connection);
    Ok(Response::from_parts(answer, body))
}

impl Host {
    async fn connection(&self) -> Result<Connection> {
        while let Some(mut connection) = self.take() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (connection, work) = client::handshake(TokioIo::new(stream)).await?;
        task::spawn_local(work);
        Ok(connection)
    }

    fn take(&self) -> Option<Connection> {
        self.idle.borrow_mut().pop()
    }
}
