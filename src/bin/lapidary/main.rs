//! The `lapidary` command.

fn main() {
    use lapidary::engine::gpu::*;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let opts = GpuOptions {
        device: DeviceChoice::Name(args[0].clone()),
        ..Default::default()
    };
    let src = opts.sources.clone();
    let engine = lapidary::engine::GpuEngine::open(opts).unwrap();
    println!("{:?}", engine);
    for k in lapidary::kernels::REGISTRY
        .iter()
        .filter(|k| args.len() < 2 || args[1..].iter().any(|a| a == k.name))
    {
        let t = std::time::Instant::now();
        let r = lapidary::verify::verify_kernel(
            &engine,
            &src,
            k,
            lapidary::kernels::Effort::Quick,
            &mut |_| true,
        )
        .unwrap();
        let mut worst = (0.0, String::new());
        for v in &r.variants {
            if v.status.is_failure() {
                println!("FAILED {} {:?} {}", v.variant, v.status, v.place);
            }
            if v.worst > worst.0 {
                worst = (v.worst, format!("{} {}", v.variant, v.place));
            }
        }
        for b in &r.broken {
            println!("{} caught={} by {:.150}", b.edit, b.caught, b.caught_by);
        }
        println!(
            "{}: {} variants, {} broken; worst {:.4} at {}; {:?} {:?}",
            k.name,
            r.variants.len(),
            r.broken.len(),
            worst.0,
            worst.1,
            t.elapsed(),
            engine.counters()
        );
    }
}
