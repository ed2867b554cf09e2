"""Quality figures of the zoo: data for each model that can be had anywhere, and the metric they are judged by.

This table is all there is to register: name -> where its `Samples`, or a tuple of them, are; loaded when used.
"""

SAMPLES = {
    "fashion_cnn": "benchmarks.quality.fashion:SAMPLES",
    "lcnet_orientation": "benchmarks.quality.orientation:SAMPLES",
    "ppocr_cls": "benchmarks.quality.directions:SAMPLES",
    "ppocr_rec": "benchmarks.quality.lines:SAMPLES",
    "ppocr_det": "benchmarks.quality.detection:SAMPLES",
    "efflite0": "benchmarks.quality.photos:SAMPLES",
    "minilm_l6": "benchmarks.quality.sentences:SAMPLES",
    "crepe_tiny": "benchmarks.quality.pitch:SAMPLES",
    "g2p": "benchmarks.quality.phonemes:SAMPLES",
    "silero_vad": "benchmarks.quality.speech:SAMPLES",
    "light": "benchmarks.quality.light:SAMPLES",
}
