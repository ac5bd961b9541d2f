//! XML bodies of the blob service.

use std::io;

use gantry_blobs::blob::{Blob, Container, Metadata, Which};
use gantry_blobs::ports::BlockLists;
use gantry_blobs::{ContainerName, ListQuery, Listed, Listing};
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::{Reader, Writer};

use super::headers::{http_date, write_md5};

type Xml = Writer<Vec<u8>>;

fn document(root: &str, fill: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    xml.create_element(root).write_inner_content(fill)?;
    Ok(xml.into_inner())
}

fn leaf(xml: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(text)).map(drop)
}

pub(super) fn error(code: &str, message: &str) -> io::Result<Vec<u8>> {
    document("Error", |xml| {
        leaf(xml, "Code", code)?;
        leaf(xml, "Message", message)
    })
}

fn metadata(xml: &mut Xml, metadata: &Metadata) -> io::Result<()> {
    let fill = |xml: &mut Xml| metadata.iter().try_for_each(|(name, value)| leaf(xml, name, value));
    xml.create_element("Metadata").write_inner_content(fill).map(drop)
}

/// What a list answer repeats of its question.
pub(super) struct Echo<'a> {
    pub(super) endpoint: &'a str,
    pub(super) container: Option<&'a ContainerName>,
    pub(super) query: &'a ListQuery,
    pub(super) with_metadata: bool,
}

fn list(echo: &Echo<'_>, next: Option<&str>, fill: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    let root = xml.create_element("EnumerationResults").with_attribute(("ServiceEndpoint", echo.endpoint));
    let root = match echo.container {
        Some(container) => root.with_attribute(("ContainerName", container.as_str())),
        None => root,
    };
    root.write_inner_content(|xml| {
        leaf(xml, "Prefix", &echo.query.prefix)?;
        leaf(xml, "Marker", &echo.query.marker)?;
        leaf(xml, "MaxResults", &echo.query.limit.to_string())?;
        if !echo.query.delimiter.is_empty() {
            leaf(xml, "Delimiter", &echo.query.delimiter)?;
        }
        fill(xml)?;
        leaf(xml, "NextMarker", next.unwrap_or_default())
    })?;
    Ok(xml.into_inner())
}

pub(super) fn containers(
    echo: &Echo<'_>,
    found: &[(ContainerName, Container)],
    next: Option<&str>,
) -> io::Result<Vec<u8>> {
    let one = |xml: &mut Xml, (name, container): &(ContainerName, Container)| {
        leaf(xml, "Name", name.as_str())?;
        xml.create_element("Properties").write_inner_content(|xml| {
            leaf(xml, "Last-Modified", &http_date(container.modified_at))?;
            leaf(xml, "Etag", &format!("\"{}\"", container.etag))?;
            leaf(xml, "LeaseStatus", "unlocked")?;
            leaf(xml, "LeaseState", "available")
        })?;
        if echo.with_metadata { metadata(xml, &container.metadata) } else { Ok(()) }
    };
    list(echo, next, |xml| {
        let all = |xml: &mut Xml| {
            found.iter().try_for_each(|line| {
                xml.create_element("Container").write_inner_content(|xml| one(xml, line)).map(drop)
            })
        };
        xml.create_element("Containers").write_inner_content(all).map(drop)
    })
}

pub(super) fn blobs(echo: &Echo<'_>, listing: &Listing) -> io::Result<Vec<u8>> {
    let line = |xml: &mut Xml, line: &Listed| match line {
        Listed::Prefix(prefix) => {
            xml.create_element("BlobPrefix").write_inner_content(|xml| leaf(xml, "Name", prefix)).map(drop)
        }
        Listed::Blob(name, blob) => {
            let fill = |xml: &mut Xml| {
                leaf(xml, "Name", name.as_str())?;
                xml.create_element("Properties").write_inner_content(|xml| properties(xml, blob))?;
                if echo.with_metadata { metadata(xml, &blob.metadata) } else { Ok(()) }
            };
            xml.create_element("Blob").write_inner_content(fill).map(drop)
        }
    };
    list(echo, listing.next.as_deref(), |xml| {
        let all = |xml: &mut Xml| listing.lines.iter().try_for_each(|one| line(xml, one));
        xml.create_element("Blobs").write_inner_content(all).map(drop)
    })
}

fn properties(xml: &mut Xml, blob: &Blob) -> io::Result<()> {
    let properties = &blob.properties;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    leaf(xml, "Creation-Time", &http_date(blob.created_at))?;
    leaf(xml, "Last-Modified", &http_date(blob.modified_at))?;
    leaf(xml, "Etag", &blob.etag.to_string())?;
    leaf(xml, "Content-Length", &blob.length.to_string())?;
    leaf(xml, "Content-Type", properties.content_type.as_deref().unwrap_or("application/octet-stream"))?;
    leaf(xml, "Content-Encoding", &text(&properties.content_encoding))?;
    leaf(xml, "Content-Language", &text(&properties.content_language))?;
    leaf(xml, "Content-MD5", &properties.content_md5.map(write_md5).unwrap_or_default())?;
    leaf(xml, "Cache-Control", &text(&properties.cache_control))?;
    leaf(xml, "Content-Disposition", &text(&properties.content_disposition))?;
    leaf(xml, "BlobType", "BlockBlob")?;
    leaf(xml, "LeaseStatus", "unlocked")?;
    leaf(xml, "LeaseState", "available")?;
    leaf(xml, "ServerEncrypted", "false")
}

pub(super) fn blocks(lists: &BlockLists, committed: bool, uncommitted: bool) -> io::Result<Vec<u8>> {
    let part = |xml: &mut Xml, name: &str, blocks: &[gantry_blobs::blob::Block]| {
        let one = |xml: &mut Xml, block: &gantry_blobs::blob::Block| {
            leaf(xml, "Name", &block.id)?;
            leaf(xml, "Size", &block.part.length.to_string())
        };
        let all = |xml: &mut Xml| {
            blocks
                .iter()
                .try_for_each(|block| xml.create_element("Block").write_inner_content(|xml| one(xml, block)).map(drop))
        };
        xml.create_element(name).write_inner_content(all).map(drop)
    };
    document("BlockList", |xml| {
        if committed {
            part(xml, "CommittedBlocks", &lists.committed)?;
        }
        if uncommitted {
            part(xml, "UncommittedBlocks", &lists.uncommitted)?;
        }
        Ok(())
    })
}

/// Reads the body of Put Block List; none when it is something else.
pub(super) fn read_block_list(body: &[u8]) -> Option<Vec<(Which, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().trim_text(true);
    let (mut list, mut open, mut id) = (Vec::new(), None, String::new());
    let mut inside = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if !inside => inside = (tag.name().as_ref() == "BlockList").then_some(true)?,
            Event::Empty(tag) if !inside => return (tag.name().as_ref() == "BlockList").then_some(list),
            Event::Start(tag) if open.is_none() => {
                open = Some(match tag.name().as_ref() {
                    "Committed" => Which::Committed,
                    "Uncommitted" => Which::Uncommitted,
                    "Latest" => Which::Latest,
                    _ => return None,
                });
            }
            Event::Text(text) if open.is_some() => id.push_str(&text),
            Event::End(_) => match open.take() {
                Some(which) => list.push((which, std::mem::take(&mut id))),
                None => return Some(list),
            },
            Event::Decl(_) | Event::Comment(_) | Event::Text(_) => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_list_is_read_in_its_order() {
        let body = "\u{feff}<?xml version='1.0' encoding='utf-8'?>\n<BlockList>\n <Latest>QQ==</Latest>\
                    <Committed>Qg==</Committed><Uncommitted>Qw==</Uncommitted><!-- x --></BlockList>";
        let expected = [(Which::Latest, "QQ=="), (Which::Committed, "Qg=="), (Which::Uncommitted, "Qw==")];
        let expected: Vec<_> = expected.into_iter().map(|(which, id)| (which, id.to_owned())).collect();
        assert_eq!(read_block_list(body.as_bytes()), Some(expected));
        assert_eq!(read_block_list(b"<BlockList/>"), Some(vec![]));
        assert_eq!(read_block_list(b"<BlockList></BlockList>"), Some(vec![]));
    }

    #[test]
    fn what_is_no_block_list_is_refused() {
        let bad: [&[u8]; 9] = [
            b"",
            b"text",
            b"<Other/>",
            b"<BlockList>",
            b"<BlockList><Latest>QQ==",
            b"<BlockList><Latest><Latest/></Latest></BlockList>",
            b"<BlockList><Newest>QQ==</Newest></BlockList>",
            b"<!DOCTYPE a [<!ENTITY b \"c\">]><BlockList><Latest>&b;</Latest></BlockList>",
            b"\xff\xfe",
        ];
        for body in bad {
            assert_eq!(read_block_list(body), None, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn names_are_escaped() {
        let body = String::from_utf8(error("A", "<&>\u{1f600}").unwrap()).unwrap();
        assert!(body.contains("<Message>&lt;&amp;&gt;\u{1f600}</Message>"), "{body}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>, text in "[<>/&a-zA-Z=]{0,60}") {
            let _ = read_block_list(&body);
            let _ = read_block_list(text.as_bytes());
            let _ = read_block_list(format!("<BlockList>{text}</BlockList>").as_bytes());
        }
    }
}
