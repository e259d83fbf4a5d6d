"""The agent's threads, under the names RFC 9222 Appendix C gives them, and two more: settler and monitor."""
