"""What programs and browsers ask a service: cases, uploads, tokens, and who may ask."""
