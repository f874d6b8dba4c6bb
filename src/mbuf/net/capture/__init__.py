"""Capture files, pcap and pcapng: `capture` reads them packet by packet, `captureport` has them as ports."""
