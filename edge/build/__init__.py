"""From a catalogue to a bundle: read the source, embed its photos, fit, write; and changes to a bundle in place."""
