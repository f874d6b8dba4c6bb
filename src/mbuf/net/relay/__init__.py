"""Relays, which pass on what clients send to one destination, in bounded memory: of streams and of UDP datagrams."""
